"""The processes that a benchmark asks: Spark sessions that stay, and peers that run once a round."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
#: Longest wait for one answer; a round of the slowest takes about a minute.
ANSWER_TIMEOUT_S = 900.0
#: A peer may first have to install hundreds of megabytes.
PEER_TIMEOUT_S = 1800.0
STOP_TIMEOUT_S = 60.0


class PeerError(RuntimeError):
    """A system failed or cannot be had; the text says why."""


class SparkWorker:
    """A ``spark_side`` process; its log is kept in the home folder."""

    def __init__(self, system: str, home: Path, bootstrap: str, heap: str) -> None:
        self.system = system
        self.log = home / "logs" / f"{system}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.collect.spark_side", "--system", system]
        command += ["--home", str(home), "--bootstrap", bootstrap, "--heap", heap]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=PROJECT
            )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Send one command and wait for its answer.

        Raises
        ------
        PeerError
            It failed, died or did not answer in time.

        """
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101
        try:
            stdin.write(json.dumps({"do": action, **arguments}) + "\n")
            stdin.flush()
        except OSError as error:
            raise PeerError(f"{self.system}: {error}; see {self.log}") from None
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for the next answer; errors as above."""
        try:
            line = self._answers.get(timeout=ANSWER_TIMEOUT_S)
        except queue.Empty:
            raise PeerError(
                f"{self.system}: no answer for {ANSWER_TIMEOUT_S:.0f} s; see {self.log}"
            ) from None
        if not line:
            raise PeerError(f"{self.system} ended; see {self.log}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.system}: {answer['error']}; see {self.log}")
        return answer

    def stop(self) -> None:
        """Let it end, by force after a minute."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._answers.put(line)
        self._answers.put("")


def run_peer(
    system: str, home: Path, bootstrap: str, topic: str, events: int, warm: int, out: Path | None = None
) -> dict[str, Any]:
    """Run a peer that is no Spark query on the first events of a topic; return what it measured.

    Raises
    ------
    PeerError
        It cannot be installed, or failed.

    """
    script = Path(__file__).parent / f"{system}_peer.py"
    if not script.is_file():
        raise PeerError(f"there is no {script.name}")
    command = [sys.executable, str(script), "--bootstrap", bootstrap, "--topic", topic]
    command += ["--events", str(events), "--warm", str(warm), *(["--out", str(out)] if out else [])]
    log = home / "logs" / f"{system}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as errors:
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=PROJECT, check=False,
                timeout=PEER_TIMEOUT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise PeerError(f"{system} did not end within {PEER_TIMEOUT_S:.0f} s; see {log}") from None
    answer = _last_json(done.stdout)
    reason = answer.get("missing") or answer.get("error")
    if reason or done.returncode != 0 or "events_per_s" not in answer:
        told = reason or " ".join(log.read_text("utf-8", "replace").split("\n")[-3:]).strip()
        raise PeerError(f"{system}: {told or 'no figures'} (exit code {done.returncode})")
    return _normal(answer)


def _last_json(text: str) -> dict[str, Any]:
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    return {}


def _normal(answer: dict[str, Any]) -> dict[str, Any]:
    """Write a peer's figures as Spark's sides write theirs; its memory is given in bytes."""
    peak = answer.pop("peak_pss", None)
    return answer | {
        "cpu_s_per_million": answer.get("cpu_s_per_million"),
        "peak_mb": {"total": round(peak / 1e6, 1)} if peak else {},
    }
