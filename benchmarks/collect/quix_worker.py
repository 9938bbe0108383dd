"""Quix Streams: the rules by hand on its state by key, which its changelog topic keeps.

Its functions see the state of their message's key only, and it has no timers. So windows and ends wait in a
queue of each partition in memory, made anew from the store when a partition is assigned, and the state of a
cascade that is due is reached through the partition's transaction.
"""

from __future__ import annotations

import heapq
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from peer_worker import Progress, Run, Sent
from quixstreams import Application, message_context
from quixstreams.state import State
from rules_by_event import (
    CASCADE_BYTES,
    EVENT_BYTES,
    Cascade,
    Event,
    Seen,
    letter,
    pack_event,
    parse,
    unpack_events,
)

COMMIT_S = 5.0
#: State keys of a cascade: its numbers with its newest events, and its text; the older events have numbers.
CASCADE, TEXT = b"c", b"t"
#: Events kept beside the numbers, a value written whole with each event, before they get one of their own.
NEWEST = 16


class Partition:
    """When the cascades of one Kafka partition are due, and its clock; the cascades are in the store."""

    def __init__(self, items: Any, state_of: Callable[[bytes], State]) -> None:
        self._state_of = state_of
        self._clock_s = -math.inf
        #: (when it is due, id): one entry for each open cascade.
        self._queue: list[tuple[float, bytes]] = []
        suffix = b"|" + CASCADE
        for key, value in items:
            if key.endswith(suffix):
                self._queue.append((Cascade.unpack(value).due_s, key[: -len(suffix)]))
        heapq.heapify(self._queue)

    def take(self, key: bytes, event: Event, state: State) -> list[bytes]:
        """Follow one event; return the JSON that is sent."""
        out: list[bytes] = []
        if event.t > self._clock_s:
            self._clock_s = event.t
            while self._queue and self._queue[0][0] <= self._clock_s:
                self._run_due(out)
        if event.type == "tick":
            return out
        packed = state.get_bytes(CASCADE)
        if event.type == "tweet" and packed is None:
            cascade, newest = Cascade(event.t, event.t), b""
            heapq.heappush(self._queue, (cascade.due_s, key))
            state.set(TEXT, event.msg)
        elif event.type == "tweet" or packed is None:
            out.append(letter(event, key.decode()))
            return out
        else:
            cascade, newest = Cascade.unpack(packed), packed[CASCADE_BYTES:]
            if event.t < cascade.root_s:
                out.append(letter(event, key.decode()))
                return out
        if cascade.add(event.t):
            newest += pack_event(event.t - cascade.root_s, event.m)
            if len(newest) == NEWEST * EVENT_BYTES:
                state.set_bytes(b"%d" % (cascade.kept // NEWEST - 1), newest)
                newest = b""
        state.set_bytes(CASCADE, cascade.pack() + newest)
        return out

    def _run_due(self, out: list[bytes]) -> None:
        """Close what the clock has closed of the first cascade in the queue."""
        key = self._queue[0][1]
        state = self._state_of(key)
        packed = state.get_bytes(CASCADE)
        cascade = Cascade.unpack(packed)
        newest = packed[CASCADE_BYTES:]
        older = [b"%d" % number for number in range(cascade.kept // NEWEST)]

        def past() -> tuple[str | None, list[Seen]]:
            return state.get(TEXT), unpack_events(b"".join([*map(state.get_bytes, older), newest]))

        observed = cascade.observed
        sent, ended = cascade.advance(self._clock_s, key.decode(), past)
        out += sent
        if observed and not cascade.observed:
            for name in (TEXT, *older):
                state.delete(name)
            cascade.kept, newest = 0, b""
        if ended:
            state.delete(CASCADE)
            heapq.heappop(self._queue)
        else:
            state.set_bytes(CASCADE, cascade.pack() + newest)
            heapq.heapreplace(self._queue, (cascade.due_s, key))


def work(run: Run, slot: int, workers: int) -> None:
    """Read events until told to stop; partitions are shared with the other workers of the consumer group."""
    progress, sent = Progress(run.count_file, slot), Sent(run.output_file(slot))
    app = Application(
        broker_address=run.bootstrap,
        consumer_group=run.folder.name,
        auto_offset_reset="earliest",
        commit_interval=COMMIT_S,
        state_dir=run.folder / f"state-{slot}",
        loglevel="WARNING",
        consumer_extra_config={"queued.min.messages": 100_000},
        producer_extra_config={"linger.ms": 50, "compression.type": "lz4"},
    )
    topic = app.topic(run.topic, key_deserializer="bytes", value_deserializer="bytes")
    tweets = app.dataframe(topic)
    partitions: dict[int, Partition] = {}

    def partition_of(number: int) -> Partition:
        context = tweets.processing_context

        def state_of(key: bytes) -> State:
            transaction = context.checkpoint.get_store_transaction(
                stream_id=tweets.stream_id, partition=number
            )
            return transaction.as_state(prefix=key)

        store = context.state_manager.get_store(stream_id=tweets.stream_id, store_name="default")
        return Partition(store.partitions[number].iter_items(b""), state_of)

    def follow(value: bytes, key: bytes, _timestamp: int, _headers: Any, state: State) -> list[bytes]:
        place = message_context()
        if place.offset >= run.ends[place.partition]:
            return []
        partition = partitions.get(place.partition)
        if partition is None:
            partition = partitions[place.partition] = partition_of(place.partition)
        out = partition.take(key, parse(value), state)
        progress.add()
        if place.offset + 1 == run.ends[place.partition]:
            progress.tell()
        if out:
            sent.send(out)
        return out

    tweets.apply(follow, stateful=True, metadata=True, expand=True)
    _meet(run, slot, workers)
    app.run()
    sent.close()


def _meet(run: Run, slot: int, workers: int) -> None:
    """Wait for the other workers: who joins the group late takes partitions away."""
    (run.folder / f"ready-{slot}").touch()
    while len(list(run.folder.glob("ready-*"))) < workers:
        time.sleep(0.01)


if __name__ == "__main__":
    work(Run.from_json(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
