"""The driver's side of the sender process."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.runtime.settings import Settings
from jobs.runtime.topics import TWEETS, topic_name

ROOT = Path(__file__).resolve().parents[2]
#: Longest time that making a segment may take: 10 million events take half a minute.
PREPARE_S = 300.0


class LoadError(RuntimeError):
    """The sender ended or did not answer."""


class Load:
    """Sends paced events from a process of its own, which ends with this one."""

    def __init__(self, settings: Settings, density: float, seed: int, check: Callable[[], None]) -> None:
        rules = [settings.cascades.min_cascade_size, *settings.cascades.windows_s]
        arguments = [
            settings.kafka.bootstrap_servers,
            topic_name(settings, TWEETS),
            settings.kafka.partitions,
            density,
            seed,
            *rules,
        ]
        command = [sys.executable, "-m", "benchmarks.pipeline_parts.sender", *map(str, arguments)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._check = check
        threading.Thread(target=self._read, name="answers", daemon=True).start()

    @property
    def pid(self) -> int:
        """Return the sender's process id."""
        return self._process.pid

    def prepare(self, events: int, rate: float = 0.0) -> dict[str, Any]:
        """Make the next ``events`` of the stream ready for ``rate`` events/s; 0 is as fast as it goes."""
        self._tell({"do": "prepare", "events": events, "rate": rate})
        return self.answer(PREPARE_S)

    def start(self, keep: Path | None = None) -> float:
        """Begin to send what is ready; return when it began (s since 1970)."""
        self._tell({"do": "send", "keep": str(keep) if keep else None})
        return float(self.answer(PREPARE_S)["started_s"])

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """Return the next answer."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self._check()
            try:
                answer = self._answers.get(timeout=0.25)
            except queue.Empty:
                continue
            if answer is None:
                raise LoadError("the sender ended: its last lines are above")
            return answer
        raise LoadError(f"no answer from the sender after {timeout_s:.0f} s")

    def close(self) -> None:
        """End the sender."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _tell(self, command: dict[str, object]) -> None:
        if self._process.stdin is None or self._process.poll() is not None:
            raise LoadError("the sender has ended")
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._answers.put(json.loads(line))
        self._answers.put(None)
