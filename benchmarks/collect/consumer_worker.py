"""The reference system's approach: one consumer, one event at a time, cascades in a dict, a queue for time.

Windows and ends wait in a priority queue of each Kafka partition, whose clock is the latest event time read.
"""

from __future__ import annotations

import gc
import heapq
import math
import sys

from confluent_kafka import Consumer, TopicPartition
from peer_worker import Progress, Run, Sent
from rules_by_event import Cascade, Event, Seen, letter, parse

#: Records handed over by librdkafka in one call; asking for one at a time costs a fifth more.
RECORDS = 1000


class Followed(Cascade):
    """A cascade with its text and history in memory."""

    __slots__ = ("seen", "text")

    def __init__(self, root_s: float, text: str | None) -> None:
        super().__init__(root_s, root_s)
        self.text = text
        self.seen: list[Seen] = []

    def past(self) -> tuple[str | None, list[Seen]]:
        """Return text and history."""
        return self.text, self.seen


class Partition:
    """The open cascades of one Kafka partition and its clock."""

    def __init__(self) -> None:
        self.clock_s = -math.inf
        self._open: dict[bytes, Followed] = {}
        #: (when it is due, id): one entry for each open cascade.
        self._queue: list[tuple[float, bytes]] = []

    def take(self, key: bytes | None, event: Event) -> list[bytes]:
        """Follow one event; return the JSON that is sent."""
        out: list[bytes] = []
        if event.t > self.clock_s:
            self.clock_s = event.t
            self._run_due(out)
        if event.type == "tick" or key is None:
            return out
        cascade = self._open.get(key)
        if event.type == "tweet":
            if cascade is not None:
                out.append(letter(event, key.decode()))
                return out
            cascade = self._open[key] = Followed(event.t, event.msg)
            heapq.heappush(self._queue, (cascade.due_s, key))
        elif cascade is None or event.t < cascade.root_s:
            out.append(letter(event, key.decode()))
            return out
        if cascade.add(event.t):
            cascade.seen.append((event.t - cascade.root_s, event.m))
        return out

    def _run_due(self, out: list[bytes]) -> None:
        """Close what the clock has closed."""
        queue = self._queue
        while queue and queue[0][0] <= self.clock_s:
            key = queue[0][1]
            cascade = self._open[key]
            sent, ended = cascade.advance(self.clock_s, key.decode(), cascade.past)
            out += sent
            if ended:
                del self._open[key]
                heapq.heappop(queue)
            else:
                if not cascade.observed:
                    cascade.seen, cascade.text = [], None
                heapq.heapreplace(queue, (cascade.due_s, key))


def work(run: Run) -> None:
    """Read all of the run's events."""
    # Nothing here is cyclic, and the collector would look at every open cascade again and again.
    gc.disable()
    progress, sent = Progress(run.count_file, 0), Sent(run.output_file(0))
    partitions = {number: Partition() for number, end in run.ends.items() if end}
    settings = {
        "bootstrap.servers": run.bootstrap,
        "group.id": "bench-consumer",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "queued.min.messages": 100_000,
    }
    reader = Consumer(settings)
    reader.assign([TopicPartition(run.topic, number, 0) for number in partitions])
    left = sum(run.ends.values())
    while left:
        for record in reader.consume(min(left, RECORDS), 1.0):
            number = record.partition()
            if record.error() or number is None:
                raise SystemExit(f"{run.topic}: {record.error()}")
            if (record.offset() or 0) >= run.ends[number]:
                continue
            if out := partitions[number].take(record.key(), parse(record.value())):
                sent.send(out)
            left -= 1
            progress.add()
    progress.tell()
    sent.close()
    reader.close()


if __name__ == "__main__":
    work(Run.from_json(sys.argv[1]))
