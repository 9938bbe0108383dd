"""The reference system's approach: one consumer, one event at a time, in Python; see `consumer_worker`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from peer import Peer, run_main, start_worker, versions_in
from peer_worker import Run


class ConsumerPeer(Peer):
    """One process without a state store."""

    system = "consumer"
    note = "no state store: a restart loses every open cascade; outputs are dropped as JSON"

    def versions(self) -> dict[str, str]:
        """Return what it runs on: the project's own packages."""
        return versions_in(Path(sys.executable), ("confluent-kafka", "msgspec"))

    def start(self, run: Run) -> list[subprocess.Popen[bytes]]:
        """Start its one worker."""
        return [start_worker(Path(sys.executable), "consumer_worker.py", run)]


if __name__ == "__main__":
    sys.exit(run_main(ConsumerPeer(), sys.argv[1:]))
