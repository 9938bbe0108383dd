"""The collector's Spark adapter: PySpark's ``transformWithStateInPandas`` over packed micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from udfs.cascades.advance import LATE, ORPHAN, REPEATED_ROOT
from udfs.cascades.bucket import EVENTS, Bucket, from_ipc, one_batch
from udfs.cascades.journal import HEAD_SQL, Head, decisive, rebuilt, written
from udfs.cascades.outcome import refused_letters, serie_values, size_values
from udfs.cascades.rules import Rules
from udfs.cascades.shelf import local_folder, place_of_bucket
from udfs.cascades.step import Step, step
from udfs.cascades.table import N_OPEN
from udfs.cascades.tweets import PACKED, Packer
from udfs.letters import LETTERS
from udfs.outgoing import outgoing, outgoing_sql

#: Why an event became a dead letter.
REFUSALS = ("orphans", "late", "repeated_roots", "malformed")
#: Rows to send have a topic. Each bucket adds one row without, which counts what the micro-batch did to it.
COUNTERS = ("ticks", "counted", "counted_late", *REFUSALS, "opened", "ended", "waiting")
#: What the buckets that the micro-batch touched hold after it: open cascades, bytes in the state store and in
#: memory.
GAUGES = ("open", "state_bytes", "memory_bytes")


def collect_cascades(tweets: DataFrame, rules: Rules, n_buckets: int, topics: dict[str, str]) -> DataFrame:
    """Follow every cascade of a Kafka source.

    Parameters
    ----------
    tweets
        Kafka records; key, value, partition and offset are used.
    rules
        When cascades are observed and end.
    n_buckets
        Buckets per Kafka partition; fixed for the life of a checkpoint.
    topics
        Names of the topics ``tweets``, ``cascade_series``, ``cascade_properties`` and ``dead_letters``.

    """

    def pack(records: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        packer = Packer(rules, n_buckets, topics["tweets"])
        for batch in records:
            if batch.num_rows:
                yield from packer.pack(batch)
        yield from packer.clocks()

    packed = tweets.select("key", "value", "partition", "offset").mapInArrow(pack, from_arrow_schema(PACKED))
    return packed.groupBy("shard").transformWithStateInPandas(
        Collector(rules, n_buckets, topics), outgoing_sql((*COUNTERS, *GAUGES)), "append", "none"
    )


class Collector(StatefulProcessor):
    """Takes a bucket from the shelf, or makes it again, and advances it by a micro-batch."""

    def __init__(self, rules: Rules, n_buckets: int, topics: dict[str, str]) -> None:
        self._rules, self._n_buckets, self._topics = rules, n_buckets, topics

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Name the state: see `udfs.cascades.journal`."""
        self._head = handle.getValueState("head", HEAD_SQL)
        self._journal = handle.getListState("journal", "entry binary")

    def handleInputRows(  # noqa: N802 (Spark's name)
        self, key: Any, rows: Iterator[Any], timerValues: Any
    ) -> Iterator[pd.DataFrame]:
        """Advance one bucket; send partials, sizes, letters and a row that counts."""
        packed = pd.concat(list(rows))
        found = self._head.get()
        head = Head(*found) if found else Head.new(self._rules, self._n_buckets)
        head.check(self._rules, self._n_buckets)
        blobs, latest_s = packed["events"].tolist(), float(packed["latest_s"].max())
        with place_of_bucket(local_folder(), bytes(head.name)) as place:
            same_rules = head.rules == decisive(self._rules)
            bucket = place.take(bytes(head.stamp)) if same_rules else None
            if bucket is None:
                entries = (bytes(entry) for (entry,) in self._journal.get())
                bucket = rebuilt(entries, head, place.allocate)
            waited = bucket.pending.num_rows
            events = one_batch(EVENTS, [from_ipc(blob, EVENTS) for blob in blobs])
            outcome = step(bucket, events, latest_s, self._rules)
            after = self._write(bucket, head, blobs, latest_s)
            place.put(bucket, after.stamp)
        malformed = one_batch(LETTERS, [from_ipc(blob, LETTERS) for blob in packed["letters"]])
        counts = _counts(outcome, malformed.num_rows, bucket.pending.num_rows - waited)
        counts |= {
            "ticks": packed["ticks"].sum(),
            "open": bucket.table.header[N_OPEN],
            "state_bytes": after.base_bytes + after.log_bytes,
            "memory_bytes": bucket.nbytes,
        }
        letters = one_batch(
            LETTERS,
            [malformed, refused_letters(outcome, self._topics["tweets"], int(packed["partition"].iloc[0]))],
        )
        sent = {
            self._topics["cascade_series"]: (outcome.windows.cid, serie_values(outcome.windows)),
            self._topics["cascade_properties"]: (outcome.sizes.cid, size_values(outcome.sizes)),
            self._topics["dead_letters"]: (letters["key"], letters["value"]),
        }
        yield outgoing(sent, counts).to_pandas()

    def _write(self, bucket: Bucket, head: Head, blobs: list[bytes], latest_s: float) -> Head:
        after, entry = written(bucket, head, blobs, latest_s, self._rules)
        if after.log_bytes:
            self._journal.appendValue((entry,))
        else:
            self._journal.put([(entry,)])
        self._head.update(tuple(after))
        return after

    def close(self) -> None:
        """Nothing is held between micro-batches."""


def _counts(outcome: Step, malformed: int, waiting: int) -> dict[str, int]:
    verdicts = np.bincount(outcome.refused_as, minlength=REPEATED_ROOT + 1)
    return {
        "counted": outcome.counted,
        "counted_late": outcome.counted_late,
        "orphans": int(verdicts[ORPHAN]),
        "late": int(verdicts[LATE]),
        "repeated_roots": int(verdicts[REPEATED_ROOT]),
        "malformed": malformed,
        "opened": outcome.opened,
        "ended": outcome.ended,
        "waiting": waiting,
    }
