"""Which process the embedded broker is, and the ports it had: one JSON file, kept between runs."""

from __future__ import annotations

import json
from typing import Any

import psutil

from jobs.runtime.broker_files import BrokerFiles

#: Two starts of one process id are further apart; clocks step by less.
CREATE_TIME_TOLERANCE_S = 2.0


class BrokerState:
    """The state file of one home's broker: pid, created_s, guarded, port, controller_port."""

    def __init__(self, files: BrokerFiles) -> None:
        self._files = files

    def read(self) -> dict[str, Any]:
        """Return what was written last; nothing when there is no file, or no whole one."""
        try:
            state: dict[str, Any] = json.loads(self._files.state.read_text("utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return state

    def write(self, **changes: object) -> None:
        """Change the file by rename: a reader sees the old or the new one."""
        if self._files.folder.is_dir():
            new = self._files.state.with_suffix(".new")
            new.write_text(json.dumps(self.read() | changes), "utf-8")
            new.replace(self._files.state)

    def process(self) -> psutil.Process | None:
        """Return the broker's process, None when it does not run.

        A process that has taken over the id of a dead broker is told by its start and its command line.
        """
        state = self.read()
        if not state.get("pid"):
            return None
        try:
            process = psutil.Process(state["pid"])
            same_start = abs(process.create_time() - state["created_s"]) < CREATE_TIME_TOLERANCE_S
            ours = process.cmdline()[-2:] == ["kafka.Kafka", str(self._files.properties)]
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if same_start and ours and alive else None
