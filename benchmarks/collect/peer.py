"""The side of a peer that measures: it starts workers, reads their count, CPU time and memory, says one line.

The peers are scripts, which find their siblings in their own folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition
from measure import TreeMeter, Written
from peer_worker import Run, counted, make_shared

PROJECT = Path(__file__).resolve().parents[2]
HOME = PROJECT / ".tweetoscope" / "bench"
#: A peer that cannot be had.
MISSING = 3
INSTALL_TIMEOUT_S = 1500.0
KAFKA_TIMEOUT_S = 30.0
#: Longest silence of the workers, their start included.
SILENCE_S = 180.0
#: Time the workers have to end by themselves: a Flink job takes a last checkpoint.
END_S = 120.0
POLL_S = 0.005
#: Between two looks at a checkpoint folder, whose files are soon deleted.
LOOK_S = 0.5


class MissingError(Exception):
    """The peer cannot be installed; the text says why."""


class Peer(ABC):
    """What differs between peers."""

    system: str
    #: What a reader of its figures should know.
    note: str

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Install it if need be; return what it runs on.

        Raises
        ------
        MissingError
            It cannot be installed.

        """

    @abstractmethod
    def start(self, run: Run) -> list[subprocess.Popen[bytes]]:
        """Start its workers."""

    def end(self, workers: Sequence[subprocess.Popen[bytes]]) -> None:  # noqa: B027 - most have nothing to do
        """Tell workers to end that do not do so when they have read all."""

    def may_be_killed(self, run: Run) -> bool:
        """Tell whether what its workers do after they have read all is of no interest."""
        return False

    def checkpoint_bytes(self, run: Run, seen: Written, events: int) -> float | None:
        """Return the bytes written per event to survive a crash; None where nothing is.

        ``seen`` is what appeared in the run's folder ``checkpoints`` while the ``events`` were measured.
        """
        return None

    def clean(self, run: Run) -> None:  # noqa: B027 - most have nothing to do
        """Remove what it left outside the run's folder."""


def run_main(peer: Peer, argv: Sequence[str]) -> int:
    """Run a peer on the first events of a topic and print its figures."""
    parser = argparse.ArgumentParser(description=f"Run {peer.system} on the first events of a topic.")
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--warm", type=int, required=True, help="events before the measured ones")
    parser.add_argument("--out", type=Path, help="keep what it sends in this file, a JSON value a line")
    options = parser.parse_args(argv)
    if not 0 <= options.warm < options.events:
        parser.error("--warm must be less than --events")
    # Ended from outside, it still ends its workers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    folder = HOME / "peers" / f"{peer.system}-{uuid4().hex[:8]}"
    try:
        versions = peer.versions()
        ends = first_offsets(options.bootstrap, options.topic, options.events)
        (folder / "checkpoints").mkdir(parents=True)
        run = Run(options.bootstrap, options.topic, ends, folder, options.out is not None)
        try:
            figures = _measured(peer, run, options.warm)
        finally:
            peer.clean(run)
        if options.out:
            options.out.write_bytes(b"".join(part.read_bytes() for part in sorted(folder.glob("outputs-*"))))
    except MissingError as error:
        print(json.dumps({"system": peer.system, "missing": str(error)}))
        return MISSING
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({"system": peer.system, **figures, "versions": versions, "note": peer.note}))
    return 0


def first_offsets(bootstrap: str, topic: str, events: int) -> dict[int, int]:
    """Return where the first events of a topic end in each partition: equal shares of all partitions.

    Raises
    ------
    SystemExit
        The topic is too short.

    """
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-peer", "log_level": 0})
    try:
        partitions = sorted(reader.list_topics(topic, timeout=KAFKA_TIMEOUT_S).topics[topic].partitions)
        ends = [
            reader.get_watermark_offsets(TopicPartition(topic, p), timeout=KAFKA_TIMEOUT_S)[1]
            for p in partitions
        ]
    finally:
        reader.close()
    if sum(ends) < events:
        raise SystemExit(f"{topic} holds {sum(ends)} events, fewer than {events}")
    return shares(dict(zip(partitions, ends, strict=True)), events)


def shares(length: dict[int, int], wanted: int) -> dict[int, int]:
    """Part a number by the lengths; the rest goes to the first that have room.

    >>> shares({0: 10, 1: 20, 2: 0}, 16)
    {0: 6, 1: 10, 2: 0}
    """
    total = sum(length.values()) or 1
    ends = {p: wanted * n // total for p, n in length.items()}
    for p, n in length.items():
        ends[p] += min(wanted - sum(ends.values()), n - ends[p])
    return ends


def install(venv: Path, packages: Sequence[str]) -> Path:
    """Return the Python of a virtual environment with these packages, made when it lacks one.

    Raises
    ------
    MissingError
        They cannot be had.

    """
    python, done = venv / "bin" / "python", venv / ".installed"
    wanted = "\n".join(packages)
    if done.is_file() and done.read_text("utf-8") == wanted:
        return python
    shutil.rmtree(venv, ignore_errors=True)
    venv.parent.mkdir(parents=True, exist_ok=True)
    uv = shutil.which("uv")
    steps = [[sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), str(venv)]]
    if uv:
        steps += [[uv, "--no-cache", "pip", "install", "--python", str(python), *packages]]
    else:
        pip = [str(python), "-m", "pip", "--no-cache-dir", "--disable-pip-version-check"]
        steps += [[*pip, "install", "--quiet", *packages]]
    for step in steps:
        sys.stderr.write(f"{venv.name}: {' '.join(step[1:])}\n")
        try:
            made = subprocess.run(
                step, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise MissingError(f"not installed within {INSTALL_TIMEOUT_S:.0f} s") from None
        if made.returncode != 0:
            lines = (made.stderr or made.stdout).strip().splitlines() or ["no reason given"]
            raise MissingError(f"cannot install {', '.join(packages)}: {lines[-1]}")
    done.write_text(wanted, "utf-8")
    return python


def versions_in(python: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and packages in a virtual environment."""
    code = (
        "import json, platform, sys; from importlib.metadata import version; "
        "print(json.dumps({'python': platform.python_version(), **{n: version(n) for n in sys.argv[1:]}}))"
    )
    asked = subprocess.run([str(python), "-c", code, *names], capture_output=True, text=True, check=True)
    known: dict[str, str] = json.loads(asked.stdout)
    return known


def start_worker(
    python: Path, script: str, run: Run, *arguments: str, **environment: str
) -> subprocess.Popen[bytes]:
    """Run a script of this folder as a worker; what it prints goes to our stderr."""
    command = [str(python), str(Path(__file__).resolve().with_name(script)), run.to_json(), *arguments]
    return subprocess.Popen(
        command, stdout=sys.stderr, cwd=run.folder, start_new_session=True, env={**os.environ, **environment}
    )


def _measured(peer: Peer, run: Run, warm: int) -> dict[str, object]:
    make_shared(run.count_file)
    seen = Written(run.folder / "checkpoints")
    workers = peer.start(run)
    try:
        meters = [TreeMeter(worker.pid) for worker in workers]
        first, start_s = _await(run, workers, max(warm, 1), seen)
        seen.restart()
        cpu_s = -sum(meter.cpu_s() for meter in meters)
        for meter in meters:
            meter.start()
        last, end_s = _await(run, workers, sum(run.ends.values()), seen)
        cpu_s += sum(meter.cpu_s() for meter in meters)
        peak_mb = sum(meter.stop()["total"] for meter in meters)
        seen.look()
        peer.end(workers)
        for worker in [] if peer.may_be_killed(run) else workers:
            if worker.wait(END_S) != 0:
                raise SystemExit(f"{peer.system}: a worker failed with exit code {worker.returncode}")
        written = peer.checkpoint_bytes(run, seen, last - first)
    finally:
        _kill(workers)
    count, seconds = last - first, end_s - start_s
    return {
        "events": count,
        "seconds": round(seconds, 3),
        # None where all was over between two looks.
        "events_per_s": round(count / seconds, 1) if count else None,
        "cpu_s_per_million": round(cpu_s * 1e6 / count, 2) if count else None,
        "peak_pss": int(peak_mb * 1e6),
        "checkpoint_bytes_per_event": written,
        "workers": len(workers),
    }


def _await(
    run: Run, workers: Sequence[subprocess.Popen[bytes]], wanted: int, seen: Written
) -> tuple[int, float]:
    """Wait until so many events have been read; return how many, and the moment."""
    before, heard_s, looked_s = -1, time.perf_counter(), 0.0
    while True:
        codes = [worker.poll() for worker in workers]
        count, now_s = counted(run.count_file), time.perf_counter()
        if count >= wanted:
            return count, now_s
        if count > before:
            before, heard_s = count, now_s
        if now_s - looked_s > LOOK_S:
            seen.look()
            looked_s = now_s
        if any(codes) or None not in codes or now_s - heard_s > SILENCE_S:
            told = f"exit codes {codes}" if any(code is not None for code in codes) else "silence"
            raise SystemExit(f"{count} of {wanted} events were read, then: {told}")
        time.sleep(POLL_S)


def _kill(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what still runs of the workers' sessions."""
    for worker in workers:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
