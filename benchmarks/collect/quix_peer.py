"""Quix Streams in a virtual environment of its own; see `quix_worker`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from measure import Written
from peer import HOME, KAFKA_TIMEOUT_S, Peer, install, run_main, start_worker, versions_in
from peer_worker import Run

PACKAGES = ("quixstreams==3.28.1", "msgspec==0.22.0")
#: Two in one consumer group were faster than one on two cores.
WORKERS = 2
#: Records of the changelog whose mean size is taken.
SAMPLE = 200_000


class QuixPeer(Peer):
    """Processes of one consumer group, state in RocksDB and changelog topics."""

    system = "quix"
    note = (
        f"{WORKERS} processes in one consumer group, changelog on, commits every 5 s; checkpoint bytes are "
        "those of the changelog's records before compression, over the whole run; outputs are dropped as JSON"
    )

    def versions(self) -> dict[str, str]:
        """Install it if need be; return what it runs on."""
        self._python = install(HOME / "quix-venv", PACKAGES)
        return versions_in(self._python, ("quixstreams", "confluent-kafka", "rocksdict", "msgspec"))

    def start(self, run: Run) -> list[subprocess.Popen[bytes]]:
        """Start its workers."""
        return [
            start_worker(self._python, "quix_worker.py", run, str(slot), str(WORKERS))
            for slot in range(WORKERS)
        ]

    def end(self, workers: Sequence[subprocess.Popen[bytes]]) -> None:
        """Ask for a last commit and the end."""
        for worker in workers:
            worker.terminate()

    def checkpoint_bytes(self, run: Run, seen: Written, events: int) -> float | None:
        """Return the bytes of the changelog's records per event."""
        reader = Consumer({"bootstrap.servers": run.bootstrap, "group.id": run.folder.name, "log_level": 0})
        try:
            places = [TopicPartition(t, p, OFFSET_BEGINNING) for t in _changelogs(run) for p in run.ends]
            count = sum(reader.get_watermark_offsets(p, timeout=KAFKA_TIMEOUT_S)[1] for p in places)
            reader.assign(places)
            sizes = [len(r.key() or b"") + len(r.value() or b"") for r in islice(_records(reader), SAMPLE)]
        finally:
            reader.close()
        return round(count * sum(sizes) / len(sizes) / sum(run.ends.values()), 1) if sizes else None

    def clean(self, run: Run) -> None:
        """Delete its changelog topics."""
        admin = AdminClient({"bootstrap.servers": run.bootstrap, "log_level": 0})
        if names := _changelogs(run):
            for future in admin.delete_topics(names, operation_timeout=KAFKA_TIMEOUT_S).values():
                with suppress(KafkaException):
                    future.result()


def _changelogs(run: Run) -> list[str]:
    admin = AdminClient({"bootstrap.servers": run.bootstrap, "log_level": 0})
    names = admin.list_topics(timeout=KAFKA_TIMEOUT_S).topics
    return [name for name in names if name.startswith(f"changelog__{run.folder.name}--")]


def _records(reader: Consumer) -> Iterator[Message]:
    while batch := reader.consume(10_000, 2.0):
        yield from (record for record in batch if not record.error())


if __name__ == "__main__":
    sys.exit(run_main(QuixPeer(), sys.argv[1:]))
