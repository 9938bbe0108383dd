"""Kafka records of the topic ``tweets`` to events, packed per bucket before the shuffle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from udfs.cascades.bucket import EVENTS, to_ipc
from udfs.cascades.ids import buckets_of
from udfs.cascades.rules import Rules
from udfs.cascades.scan import KINDS
from udfs.cascades.shards import shard_of
from udfs.cascades.tweet_values import Tweets, is_utf8, read_tweets
from udfs.json_rows import Rejected, binary_parts
from udfs.letters import letters_of_records
from udfs.ragged import Floats

#: Event times after the year 9999 are no times; one would close every window of its partition.
MAX_EVENT_TIME_S = 253_402_300_800.0
#: The rows between the Kafka reader and the buckets. Every bucket of a partition gets the partition's latest
#: event time with each micro-batch that read from it, so a bucket's clock runs without events of its own.
PACKED = pa.schema(
    [
        ("shard", pa.int32()),
        ("partition", pa.int32()),
        ("bucket", pa.int32()),
        ("latest_s", pa.float64()),
        ("ticks", pa.int64()),
        ("events", pa.binary()),
        ("letters", pa.binary()),
    ]
)


@dataclass
class Packer:
    """Turns Arrow batches of Kafka records into rows of PACKED; keeps the running clock of each partition.

    One task reads one Kafka partition, in the order of offsets.
    """

    rules: Rules
    n_buckets: int
    topic: str
    _latest_s: dict[int, float] = field(default_factory=dict)

    def pack(self, records: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Pack one batch with the columns key, value, partition and offset."""
        partitions = records["partition"].to_numpy()
        if (partitions == partitions[0]).all():
            yield self._pack(int(partitions[0]), records)
            return
        for partition in np.unique(partitions):
            yield self._pack(int(partition), records.filter(partitions == partition))

    def clocks(self) -> Iterator[pa.RecordBatch]:
        """Send each bucket its partition's clock, once a micro-batch."""
        for partition in self._latest_s:
            rows = [self._row(partition, bucket) for bucket in range(self.n_buckets)]
            yield pa.RecordBatch.from_pylist(rows, schema=PACKED)

    def _pack(self, partition: int, records: pa.RecordBatch) -> pa.RecordBatch:
        tweets, rejected = read_tweets(records["value"], self.rules)
        keys = records["key"]
        if len(tweets.place) < len(keys):
            keys = keys.take(pa.array(tweets.place))
        is_tick = tweets.kind == KINDS.index("tick")
        good = _check(tweets, keys, is_tick, self.rules, rejected)
        before_s = self._run_clock(partition, np.where(good, tweets.t, -np.inf))
        behind = tweets.t < before_s - self.rules.allowed_delay_s
        rows = np.flatnonzero(good & ~is_tick)
        bucket = buckets_of(*binary_parts(keys.take(pa.array(rows))), self.n_buckets)
        order = np.argsort(bucket, kind="stable") if self.n_buckets > 1 else np.arange(len(rows))
        picked = rows[order]
        take = pa.array(picked)
        events = pa.RecordBatch.from_arrays(
            [
                pa.array(records["offset"].to_numpy()[tweets.place[picked]]),
                pa.array(before_s[picked], mask=~behind[picked]),
                pa.array(tweets.t[picked]),
                pa.array(tweets.m[picked]),
                pa.array(tweets.kind[picked]),
                keys.take(take),
                _texts(tweets.msg.take(take), self.rules.max_text_bytes),
            ],
            schema=EVENTS,
        )
        sent = [
            self._row(partition, number, events=to_ipc(part))
            for number, part in _parts(events, bucket[order])
        ]
        letters = to_ipc(letters_of_records(records, rejected, self.topic))
        sent.append(self._row(partition, 0, letters=letters, ticks=int((good & is_tick).sum())))
        return pa.RecordBatch.from_pylist(sent, schema=PACKED)

    def _run_clock(self, partition: int, event_s: Floats) -> Floats:
        """Return the latest event time before each event, -inf at the micro-batch's first."""
        start = self._latest_s.get(partition, -np.inf)
        running = np.maximum.accumulate(np.concatenate([[start], event_s]))
        self._latest_s[partition] = float(running[-1])
        before: Floats = running[:-1]
        return before

    def _row(
        self, partition: int, bucket: int, *, events: bytes = b"", letters: bytes = b"", ticks: int = 0
    ) -> dict[str, Any]:
        return {
            "shard": shard_of(partition * self.n_buckets + bucket),
            "partition": partition,
            "bucket": bucket,
            "latest_s": self._latest_s[partition],
            "ticks": ticks,
            "events": events,
            "letters": letters,
        }


def _parts(events: pa.RecordBatch, bucket: NDArray[Any]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut events that stand in the order of their buckets."""
    starts = np.flatnonzero(np.diff(bucket, prepend=-1))
    stops = np.append(starts, len(bucket))[1:]
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        yield int(bucket[start]), events.slice(start, stop - start)


def _check(
    tweets: Tweets, keys: pa.BinaryArray, is_tick: NDArray[Any], rules: Rules, rejected: Rejected
) -> NDArray[Any]:
    """Tell which rows are usable; note the others with their reason."""
    event_s = tweets.t
    size = pc.fill_null(pc.binary_length(keys), 0).to_numpy(zero_copy_only=False)
    rules_of_rows = [
        ((event_s >= 0) & (event_s <= MAX_EVENT_TIME_S), "bad_field", "t is no time: negative or too large"),
        (is_tick | (tweets.m >= 0), "bad_field", "m is absent or negative"),
        (is_tick | (size > 0), "bad_key", "the key, which is the cascade's id, is null or empty"),
        (
            is_tick | (size <= rules.max_id_bytes),
            "bad_key",
            f"the key is longer than {rules.max_id_bytes} bytes",
        ),
        (is_tick | _each_is_utf8(keys), "bad_key", "the key is not UTF-8"),
    ]
    good = np.ones(len(event_s), bool)
    for holds, reason, detail in rules_of_rows:
        for row in np.flatnonzero(good & ~holds).tolist():
            rejected.add(int(tweets.place[row]), reason, detail)
        good &= holds
    return good


def _each_is_utf8(keys: pa.BinaryArray) -> NDArray[Any]:
    if is_utf8(keys):
        return np.ones(len(keys), bool)
    return np.array([_decodes(key) for key in keys.to_pylist()], bool)


def _decodes(key: bytes | None) -> bool:
    try:
        (key or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _texts(texts: pa.LargeStringArray, max_bytes: int) -> pa.LargeStringArray:
    """Cut texts that are too long, before the character that passes the bound; they are few."""
    long = pc.fill_null(pc.greater(pc.binary_length(texts), max_bytes), False)
    if not pc.any(long).as_py():
        return texts
    cut = [text.encode()[:max_bytes].decode(errors="ignore") for text in texts.filter(long).to_pylist()]
    return pc.replace_with_mask(texts, long, pa.array(cut, pa.large_string()))
