"""The jars pip does not bring: Spark's Kafka connector and the broker, fetched by Ivy, checked by sha256.

``python -m jobs.runtime.jars`` fetches what is missing; ``python -m jobs.runtime.jars lock`` fetches all
of ``conf/ivy.xml`` and writes the lock anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Literal, TypeAlias

from jobs.runtime.errors import InfrastructureError
from jobs.runtime.java import find_java
from jobs.runtime.lifecycle import run_main
from jobs.runtime.settings import Settings, load_settings

Kind: TypeAlias = Literal["connector", "broker"]
KINDS: tuple[Kind, ...] = ("connector", "broker")
CONF = Path(__file__).resolve().parents[2] / "conf"
IVY_FILE = CONF / "ivy.xml"
LOCK_FILE = CONF / "jars.sha256"
#: Names an ivysettings file, for those who reach Maven Central through a mirror only.
SETTINGS_VARIABLE = "IVY_SETTINGS"
ADVICE = (
    f"check the network, or set {SETTINGS_VARIABLE} to an ivysettings.xml that names your mirror of Maven "
    "Central, then run `make setup` again"
)
#: After so long the fetch is given up, in seconds; it takes about a minute.
FETCH_TIMEOUT_S = 1200
#: Modules found between two lines of progress.
PROGRESS_STEP = 10


class JarsError(InfrastructureError):
    """A jar cannot be fetched, or is not the one in the lock."""


def connector_jars(settings: Settings) -> list[Path]:
    """Return the jars for ``spark.jars``, fetching them when missing.

    Raises
    ------
    JarsError
        They cannot be had, or differ from the lock.

    """
    return ensure_jars(settings.home, "connector")


def broker_jars(settings: Settings) -> list[Path]:
    """Return the jars of the broker's class path, fetching them when missing; errors as above."""
    return ensure_jars(settings.home, "broker")


def ensure_jars(home: Path, kind: Kind) -> list[Path]:
    """Return all jars of a kind under ``home/jars``, each with the sum the lock has for it.

    Raises
    ------
    JarsError
        They cannot be fetched, or a fetched one differs from the lock.

    """
    folder, sums = home / "jars", locked_sums(LOCK_FILE)
    if not wrong_jars(folder, sums, kind):
        return _paths(folder, sums, kind)
    with _one_at_a_time(folder):
        if wrong_jars(folder, sums, kind):
            fetched = _fetch(folder)
            if wrong := [name for k in KINDS for name in wrong_jars(fetched, sums, k)]:
                raise JarsError(f"fetched jars differ from {LOCK_FILE.name}: {', '.join(wrong)}; {ADVICE}")
            _install(fetched, folder)
    return _paths(folder, sums, kind)


def locked_sums(lock: Path) -> dict[str, str]:
    """Read a lock in the format of ``sha256sum``: ``kind/name.jar`` to its sum."""
    pairs = (line.split(maxsplit=1) for line in lock.read_text("utf-8").splitlines())
    return {name: digest for digest, name in pairs}


def wrong_jars(folder: Path, sums: Mapping[str, str], kind: Kind) -> list[str]:
    """Return the jars of a kind that are missing, have another sum, or have no place there."""
    there = {f"{kind}/{path.name}" for path in folder.glob(f"{kind}/*")}
    wanted = {name for name in sums if name.startswith(f"{kind}/")}
    changed = {name for name in wanted & there if _sum_of(folder / name) != sums[name]}
    return sorted((wanted ^ there) | changed)


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch the jars that are missing, or lock those of ``conf/ivy.xml``."""
    words = list(argv or [])
    relock = words[:1] == ["lock"]
    settings = load_settings(words[1:] if relock else words, "python -m jobs.runtime.jars")
    folder = settings.home / "jars"
    if relock:
        with _one_at_a_time(folder):
            fetched = _fetch(folder)
            LOCK_FILE.write_text(_lock_text(fetched), "utf-8")
            _install(fetched, folder)
    count = sum(len(ensure_jars(settings.home, kind)) for kind in KINDS)
    _say(f"{count} jars, as locked")
    return 0


def _fetch(folder: Path) -> Path:
    """Let Ivy bring all jars into a new folder beside their place; return it."""
    incoming = folder / ".incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    command = _ivy_command(folder / ".ivy", incoming)
    _say(f"fetching {len(locked_sums(LOCK_FILE))} jars (54 MB), about a minute")
    tail: list[str] = []
    seen: Counter[str] = Counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as ivy:
        watchdog = Timer(FETCH_TIMEOUT_S, ivy.kill)
        watchdog.start()
        try:
            for line in ivy.stdout or ():
                tail = [*tail[-200:], line.strip()]
                _progress(line.strip(), seen)
            code = ivy.wait()
        finally:
            watchdog.cancel()
            ivy.kill()
    if code != 0:
        told = [line for line in tail if "NOT FOUND" in line or "rror" in line or "not found" in line]
        raise JarsError(f"cannot fetch the jars: {'; '.join((told or tail)[-1:])}; {ADVICE}")
    return incoming


def _ivy_command(cache: Path, target: Path) -> list[str]:
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise JarsError("pyspark is not installed: run `make setup`")
    ivy_jars = sorted((Path(spec.origin).parent / "jars").glob("ivy-*.jar"))
    if not ivy_jars:
        raise JarsError("pyspark has no ivy jar among its jars: run `make clean setup`")
    mirror = os.environ.get(SETTINGS_VARIABLE)
    if mirror and not Path(mirror).is_file():
        raise JarsError(f"{SETTINGS_VARIABLE} names {mirror}, which is no file")
    return [
        str(find_java()),
        "-Djava.awt.headless=true",
        f"-Divy.default.ivy.user.dir={cache}",
        "-cp",
        str(ivy_jars[-1]),
        "org.apache.ivy.Main",
        *(["-settings", mirror] if mirror else []),
        *("-ivy", str(IVY_FILE), "-cache", str(cache), "-confs", *KINDS, "-types", "jar", "bundle"),
        *("-retrieve", f"{target}/[conf]/[artifact]-[revision](-[classifier]).[ext]"),
    ]


def _install(fetched: Path, folder: Path) -> None:
    for kind in KINDS:
        shutil.rmtree(folder / kind, ignore_errors=True)
        (fetched / kind).rename(folder / kind)
    shutil.rmtree(fetched)
    shutil.rmtree(folder / ".ivy", ignore_errors=True)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _progress(line: str, seen: Counter[str]) -> None:
    """Say each download, and now and then how many modules Ivy has found, of a line Ivy printed."""
    verb = line.partition(" ")[0]
    seen[verb] += 1
    if verb == "downloading" and ".jar" in line:
        _say(line.removesuffix(" ...").rpartition("/")[2])
    elif verb == "found" and seen[verb] % PROGRESS_STEP == 0:
        _say(f"{seen[verb]} modules resolved")


def _lock_text(folder: Path) -> str:
    paths = [path for kind in KINDS for path in sorted(folder.glob(f"{kind}/*.jar"))]
    return "".join(f"{_sum_of(path)}  {path.relative_to(folder)}\n" for path in paths)


def _paths(folder: Path, sums: Mapping[str, str], kind: Kind) -> list[Path]:
    return [folder / name for name in sums if name.startswith(f"{kind}/")]


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _say(text: str) -> None:
    sys.stderr.write(f"jars: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(run_main(main, sys.argv[1:]))
