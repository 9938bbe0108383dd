"""The process that loads the pipeline: batches made before the clock starts, sent by it over a plain socket.

``python -m benchmarks.pipeline_parts.sender ADDRESS TOPIC PARTITIONS DENSITY SEED MIN_SIZE WINDOW…`` reads
commands, a JSON line each, and answers with lines; it ends when its standard input does. ``prepare`` makes
the next stretch of the stream, ``send`` sends it and answers when it starts and when all is acknowledged.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pipeline_parts.record_batches import encoded, partition_of
from benchmarks.pipeline_parts.stream import Events, Ints, Stream

#: Time between two sends: a producer's usual linger.
STEP_S = 0.05
#: Events of a partition in one batch when no rate is asked for.
FULL_SPEED_EVENTS = 2000
#: Longest wait for the broker to take or to acknowledge a batch.
TIMEOUT_S = 60.0
_PRODUCE, _VERSION = 0, 3


@dataclass
class Segment:
    """A stretch of the stream, ready to be sent."""

    events: Events
    partition: Ints
    due_s: list[float] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    rows: list[list[tuple[int, int, int]]] = field(default_factory=list)
    """Of each request and partition: partition, first row within the partition's rows, count."""

    def __len__(self) -> int:
        return len(self.events)


def prepared(events: Events, partitions: int, rate: float, topic: str) -> Segment:
    """Cut events into requests, each due when the last of its events is; at once with a rate of 0."""
    segment = Segment(events, partition_of(events.cascade, partitions))
    per_request = max(1, int(rate * STEP_S) if rate else FULL_SPEED_EVENTS * partitions)
    sent = np.zeros(partitions, np.int64)
    for start in range(0, len(events), per_request):
        part = events.part(start, start + per_request)
        where = segment.partition[start : start + per_request]
        batches, rows = [], []
        for number in np.unique(where).tolist():
            mine = np.flatnonzero(where == number)
            batch, _ = encoded(Events(*(column[mine] for column in vars(part).values())))
            batches.append(struct.pack(">ii", number, len(batch)) + batch)
            rows.append((number, int(sent[number]), len(mine)))
            sent[number] += len(mine)
        segment.due_s.append((start + len(part)) / rate if rate else 0.0)
        segment.requests.append(_request(topic, batches, len(segment.requests)))
        segment.rows.append(rows)
    return segment


def _request(topic: str, batches: list[bytes], number: int) -> bytes:
    """Return a Produce request of one topic, acknowledged by the leader."""
    name = topic.encode()
    head = struct.pack(">hhih", _PRODUCE, _VERSION, number, 5) + b"bench" + struct.pack(">hhi", -1, 1, 30_000)
    body = struct.pack(">ih", 1, len(name)) + name + struct.pack(">i", len(batches)) + b"".join(batches)
    return struct.pack(">i", len(head) + len(body)) + head + body


class Connection:
    """A socket to the broker, and the thread that reads its acknowledgements."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.failure = ""

    def send(self, segment: Segment) -> tuple[float, Ints, float]:
        """Send on time; return when it began, the append time of each request (ms), the worst delay (s)."""
        appended_ms = np.zeros(len(segment.requests), np.int64)
        reader = threading.Thread(target=self._acknowledgements, args=(appended_ms,), daemon=True)
        reader.start()
        began, worst_s = time.time(), 0.0
        _answer({"started_s": began})
        start_s = time.monotonic()
        for due_s, request in zip(segment.due_s, segment.requests, strict=True):
            early_s = due_s - (time.monotonic() - start_s)
            if early_s > 0:
                time.sleep(early_s)
            worst_s = max(worst_s, -early_s if due_s else 0.0)
            self._socket.sendall(request)
        reader.join(TIMEOUT_S)
        if reader.is_alive() or self.failure:
            raise RuntimeError(self.failure or "the broker does not acknowledge")
        return began, appended_ms, worst_s

    def _acknowledgements(self, appended_ms: Ints) -> None:
        try:
            for number in range(len(appended_ms)):
                appended_ms[number] = self._acknowledgement()
        except (OSError, RuntimeError, struct.error) as error:
            self.failure = str(error) or type(error).__name__

    def _acknowledgement(self) -> int:
        """Read one response; return the latest append time of its partitions."""
        body = self._read(struct.unpack(">i", self._read(4))[0])
        name_size = struct.unpack_from(">h", body, 8)[0]
        at = 10 + name_size
        latest_ms, count = 0, struct.unpack_from(">i", body, at)[0]
        for i in range(count):
            _, code, _, append_ms = struct.unpack_from(">ihqq", body, at + 4 + 22 * i)
            if code:
                raise RuntimeError(f"the broker refuses a batch: error {code}")
            latest_ms = max(latest_ms, append_ms)
        return latest_ms

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                raise RuntimeError("the broker closed the connection")
            parts += part
        return bytes(parts)


def keep(path: Path, segment: Segment, appended_ms: Ints, stream: Stream) -> None:
    """Write what was sent and when: by partition event times and append times, and the windows to predict."""
    columns: dict[str, Any] = dict(vars(stream.windows))
    for number in np.unique(segment.partition).tolist():
        columns[f"event_ms_{number}"] = segment.events.event_ms[segment.partition == number]
        count = [(at, n) for at, rows in enumerate(segment.rows) for p, _, n in rows if p == number]
        requests, sizes = np.array(count).T
        columns[f"append_ms_{number}"] = np.repeat(appended_ms[requests], sizes)
    np.savez(path, **columns)


def _answer(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main(argv: list[str]) -> int:
    """Do what standard input asks for until it ends."""
    address, topic, partitions, density, seed, *rules = argv
    windows_s = [int(text) for text in rules[1:]]
    stream = Stream(float(density), windows_s, int(rules[0]), int(seed))
    connection, segment = Connection(address), None
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "prepare":
            segment = None
            events = stream.take(command["events"])
            segment = prepared(events, int(partitions), command["rate"], topic)
            _answer(
                {
                    "live_cascades": stream.live_cascades,
                    "bytes_per_event": sum(map(len, segment.requests)) / len(segment),
                    "event_time_s": float(events.event_ms[-1] - events.event_ms[0]) / 1000.0,
                }
            )
        elif segment is not None:
            cpu_s = time.process_time()
            began, appended_ms, worst_s = connection.send(segment)
            cpu_s = time.process_time() - cpu_s
            if command.get("keep"):
                keep(Path(command["keep"]), segment, appended_ms, stream)
            seconds = appended_ms.max() / 1000.0 - began
            _answer({"events": len(segment), "seconds": seconds, "cpu_s": cpu_s, "worst_delay_s": worst_s})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
