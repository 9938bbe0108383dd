"""CPU time and memory of the processes of a run by their part in it, and the tasks of each query."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from pyspark.sql import SparkSession

#: Time between two looks at Spark's page, which forgets stages after some 20 s of small micro-batches.
LOOK_S = 8.0
#: Longest wait for its answer: it takes 0.2 s, but 10 s and more while both cores have much else to do.
TIMEOUT_S = 60.0
#: Threads of this process that are services of their own.
SERVICES = ("monitor", "dashboard")
#: Parts whose processes end and are waited for meanwhile: what those used counts for the one that waited. The
#: JVM's are small commands, the workers' are workers.
WAITING = ("spark_jvm", "python_workers")
MB = 1e6


class Processes:
    """The processes of a run: Kafka, Spark's JVM, its Python workers, this process and the sender."""

    def __init__(self, broker_pid: int | None) -> None:
        self._broker_pid = broker_pid
        self.sender_pid: int | None = None

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds so far of each part; ``driver_monitor`` is a part of ``driver_python``."""
        seconds: dict[str, float] = defaultdict(float)
        for part, process in self._parts():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds[part] += times.user + times.system
                if part in WAITING:
                    seconds[part] += times.children_user + times.children_system
        return dict(seconds) | _thread_seconds()

    def memory_mb(self) -> dict[str, float]:
        """Return the memory of each part now; pages that forked workers share are counted once."""
        sizes: dict[str, float] = defaultdict(float)
        for part, process in self._parts():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                sizes[part] += process.memory_full_info().pss / MB
        return {part: round(size, 1) for part, size in sizes.items()}

    def _parts(self) -> Iterator[tuple[str, psutil.Process]]:
        me = psutil.Process()
        yield "driver_python", me
        for child in me.children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if child.pid == self.sender_pid:
                    yield "sender", child
                elif child.pid == self._broker_pid:
                    yield "kafka", child
                elif child.name() == "java":
                    yield "spark_jvm", child
                elif any(parent.name() == "java" for parent in child.parents()):
                    yield "python_workers", child


def _thread_seconds() -> dict[str, float]:
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found = {names.get(entry.id): entry.user_time + entry.system_time for entry in psutil.Process().threads()}
    return {f"driver_{name}": float(found[name]) for name in SERVICES if name in found}


class Tasks:
    """Sums what Spark's page tells of finished stages, by query, in a thread of its own.

    ``names`` has the names of the queries by their run's id. With ``spark.ui_port`` 0 there is none.
    """

    def __init__(self, spark: SparkSession, names: Mapping[str, str]) -> None:
        page = spark.sparkContext.uiWebUrl
        self._url = f"{page}/api/v1/applications/{spark.sparkContext.applicationId}"
        self._names = names
        self._seen: set[tuple[int, int]] = set()
        self._owner: dict[int, str] = {}
        self._seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="tasks", daemon=True)
        if page:
            self._thread.start()

    def total(self) -> dict[str, dict[str, float]]:
        """Return the sums: time in tasks and the JVM's CPU in it; the rest is Python or waiting."""
        with self._lock:
            return {name: dict(sums) for name, sums in self._seconds.items()}

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            with suppress(URLError, OSError, ValueError):
                self._look()

    def _look(self) -> None:
        for job in self._get("jobs"):
            if job.get("jobGroup") in self._names:
                self._owner.update(dict.fromkeys(job["stageIds"], self._names[job["jobGroup"]]))
        finished = self._get("stages?status=complete")
        with self._lock:
            for stage in finished:
                key = (stage["stageId"], stage["attemptId"])
                if key in self._seen or key[0] not in self._owner:
                    continue
                self._seen.add(key)
                mine = self._seconds[self._owner[key[0]]]
                mine["task_s"] += stage["executorRunTime"] / 1000.0
                mine["task_jvm_cpu_s"] += stage["executorCpuTime"] / 1e9

    def _get(self, what: str) -> list[dict[str, Any]]:
        with urlopen(f"{self._url}/{what}", timeout=TIMEOUT_S) as page:  # noqa: S310
            found: list[dict[str, Any]] = json.load(page)
            return found


def cores(after: dict[str, float], before: dict[str, float], seconds: float) -> dict[str, float]:
    """Return the cores that each part kept busy between two looks.

    >>> cores({"kafka": 30.0}, {"kafka": 10.0}, 40.0)
    {'kafka': 0.5}
    """
    return {name: round((after[name] - before.get(name, 0.0)) / seconds, 3) for name in after}
