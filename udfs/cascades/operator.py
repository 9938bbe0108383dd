"""The collector's Spark adapter: PySpark's ``applyInPandasWithState``, its ``flatMapGroupsWithState``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.streaming.state import GroupState, GroupStateTimeout

from udfs.cascades.advance import LATE, ORPHAN, REPEATED_ROOT
from udfs.cascades.bucket import EVENTS, Bucket, from_ipc, one_batch
from udfs.cascades.outcome import refused_letters, serie_values, size_values
from udfs.cascades.rules import Rules
from udfs.cascades.step import step
from udfs.cascades.tweets import Packer
from udfs.letters import LETTERS
from udfs.outgoing import outgoing, outgoing_sql

#: Why an event became a dead letter.
REFUSALS = ("orphans", "late", "repeated_roots", "malformed")
#: Rows to send have a topic. Each bucket adds one row without, which counts what the micro-batch did to it.
COUNTERS = ("ticks", "counted", "counted_late", *REFUSALS, "opened", "ended", "waiting")
_PACKED = "partition int, bucket int, latest_s double, ticks long, events binary, letters binary"


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

    def follow(
        key: tuple[int, int], rows: Iterator[pd.DataFrame], state: GroupState
    ) -> Iterator[pd.DataFrame]:
        packed = pd.concat(list(rows))
        bucket = Bucket.from_bytes(bytes(state.get[0])) if state.exists else Bucket.empty()
        events = one_batch(EVENTS, [from_ipc(blob, EVENTS) for blob in packed["events"]])
        outcome = step(bucket, events, float(packed["latest_s"].max()), rules)
        state.update((outcome.bucket.to_bytes(),))
        refused = refused_letters(outcome, topics["tweets"], int(key[0]))
        malformed = one_batch(LETTERS, [from_ipc(blob, LETTERS) for blob in packed["letters"]])
        letters = one_batch(LETTERS, [malformed, refused])
        sent = {
            topics["cascade_series"]: (outcome.windows.cid, serie_values(outcome.windows)),
            topics["cascade_properties"]: (outcome.sizes.cid, size_values(outcome.sizes)),
            topics["dead_letters"]: (letters["key"], letters["value"]),
        }
        waiting = outcome.bucket.pending.num_rows - bucket.pending.num_rows
        verdicts = np.bincount(outcome.refused_as, minlength=REPEATED_ROOT + 1)
        counts = {
            "ticks": packed["ticks"].sum(),
            "counted": outcome.counted,
            "counted_late": outcome.counted_late,
            "orphans": verdicts[ORPHAN],
            "late": verdicts[LATE],
            "repeated_roots": verdicts[REPEATED_ROOT],
            "malformed": malformed.num_rows,
            "opened": outcome.opened,
            "ended": outcome.ended,
            "waiting": waiting,
        }
        yield outgoing(sent, counts).to_pandas()

    packed = tweets.select("key", "value", "partition", "offset").mapInArrow(pack, _PACKED)
    return packed.groupBy("partition", "bucket").applyInPandasWithState(
        follow, outgoing_sql(COUNTERS), "bucket binary", "append", GroupStateTimeout.NoTimeout
    )
