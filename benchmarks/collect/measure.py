"""CPU time and memory of a process tree, bytes written to a folder, medians, the machine."""

from __future__ import annotations

import os
import platform
import statistics
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil

#: Reading the memory of a large JVM takes some milliseconds; peaks shorter than this are missed.
SAMPLE_S = 0.5
#: What RocksDB uploads now and then; the rest is written by every micro-batch.
SNAPSHOT_SUFFIXES = {".sst", ".zip", ".log"}
MB = 1e6


class TreeMeter:
    """Measures a process and its descendants: CPU time at any moment, peak memory between start and stop."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.peak_bytes: dict[str, int] = {}

    def cpu_s(self) -> float:
        """Return user and system time used so far, that of children who have ended included."""
        total = 0.0
        for process in self._tree():
            try:
                total += sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        return total

    def start(self) -> None:
        """Begin to watch memory."""
        self.peak_bytes = {}
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """Return the peaks in MB: ``jvm`` (resident), ``python`` (proportional: forks share pages)."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        return {kind: round(size / MB, 1) for kind, size in self.peak_bytes.items()}

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _watch(self) -> None:
        while True:
            now = {"jvm": 0, "python": 0}
            for process in self._tree():
                try:
                    if "java" in process.name():
                        now["jvm"] += process.memory_info().rss
                    else:
                        now["python"] += process.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            now["total"] = sum(now.values())
            for kind, size in now.items():
                self.peak_bytes[kind] = max(size, self.peak_bytes.get(kind, 0))
            if self._stop.wait(SAMPLE_S):
                return


@dataclass
class Written:
    """Bytes of files that appear in a folder after the first look, whether or not they are deleted later."""

    folder: Path
    _seen: dict[str, int] = field(default_factory=dict)
    _before: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._before = self._files()

    def restart(self) -> None:
        """Forget what has been seen so far."""
        self._before |= self._files()
        self._seen = {}

    def look(self) -> None:
        """Note what is there now."""
        for name, size in self._files().items():
            if name not in self._before:
                self._seen[name] = max(size, self._seen.get(name, 0))

    def bytes(self) -> tuple[int, int]:
        """Return the bytes of what micro-batches write, and those of the state's snapshots."""
        snapshots = sum(size for name, size in self._seen.items() if Path(name).suffix in SNAPSHOT_SUFFIXES)
        return sum(self._seen.values()) - snapshots, snapshots

    def _files(self) -> dict[str, int]:
        found = {}
        for base, _, names in os.walk(self.folder):
            for name in names:
                if name.startswith("."):
                    continue  # check sums of a local folder, and files not yet renamed
                try:
                    found[os.path.join(base, name)] = os.path.getsize(os.path.join(base, name))
                except FileNotFoundError:
                    continue
        return found


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, least and greatest.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'min': 1.0, 'max': 3.0}
    """
    known = sorted(values)
    return {"median": _short(statistics.median(known)), "min": _short(known[0]), "max": _short(known[-1])}


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the spread of the ratios of each pair of rounds."""
    return spread(mine / other for mine, other in zip(ours, theirs, strict=True))


def machine() -> dict[str, object]:
    """Describe the machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text("utf-8").splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "measured": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def versions() -> dict[str, str]:
    """Return the versions of what ours and the Spark peers run on."""
    names = ("pyspark", "pyarrow", "numpy", "numba", "pandas", "confluent-kafka")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _short(value: float) -> float:
    """Keep six significant digits.

    >>> _short(123456.789), _short(0.123456789)
    (123457.0, 0.123457)
    """
    return float(f"{value:.6g}")
