"""Kafka topics as streaming DataFrames, and queries from start to graceful stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.streaming.readwriter import DataStreamWriter

from jobs.runtime.clients import spark_options, spark_sink_options
from jobs.runtime.settings import Settings
from jobs.runtime.topics import Topic, topic_name

log = logging.getLogger(__name__)

#: Version of every value's schema, sent as the header ``schema``.
SCHEMA_VERSION = b"1"
#: Records a consumer hands over at a time. Kafka's 500 cost a fifth of the reading.
POLL_RECORDS = 20_000
#: Time the broker may wait for records that are not there yet. Each fetch of Spark's asks for the topic's end
#: too, on the connection where Kafka's 500 ms would still run: half a second of every task that caught up.
FETCH_WAIT_MS = 5
#: Time a micro-batch in progress may take to finish before its query is stopped anyway.
STOP_GRACE_S = 30.0


def read_topic(spark: SparkSession, settings: Settings, topic: Topic) -> DataFrame:
    """Stream a topic's records from its beginning, or from where the checkpoint stands.

    Records that retention deleted before they were read stop the query: nothing is skipped silently.
    """
    return (
        spark.readStream.format("kafka")
        .options(**spark_options(settings))
        .option("subscribe", topic_name(settings, topic))
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", settings.spark.max_events_per_trigger)
        .option("kafka.max.poll.records", POLL_RECORDS)
        .option("kafka.fetch.max.wait.ms", FETCH_WAIT_MS)
        .option("groupIdPrefix", f"{settings.kafka.topic_prefix}spark-{topic.name}")
        .load()
    )


def with_schema_header(records: DataFrame) -> DataFrame:
    """Promise ``topic``, ``key``, ``value`` and the ``schema`` header: what Kafka's sink takes."""
    header = F.struct(F.lit("schema").alias("key"), F.lit(SCHEMA_VERSION).alias("value"))
    return records.select("topic", "key", "value", F.array(header).alias("headers"))


def write_topics(
    records: DataFrame, settings: Settings, name: str, every_s: float | None = None
) -> StreamingQuery:
    """Start the query that sends records, each to the topic it names.

    ``every_s`` is the least time between micro-batches, ``spark.trigger_s`` unless told. The sink is
    at-least-once: after a crash rows may come twice, and their readers drop them.
    """
    writer = with_schema_header(records).writeStream.format("kafka").options(**spark_sink_options(settings))
    return _started(writer, settings, name, every_s)


def save_topics(records: DataFrame, settings: Settings) -> None:
    """Send the records of one micro-batch, each to the topic it names."""
    with_schema_header(records).write.format("kafka").options(**spark_sink_options(settings)).save()


def each_batch(
    records: DataFrame,
    settings: Settings,
    name: str,
    batch: Callable[[DataFrame, int], None],
    every_s: float | None = None,
) -> StreamingQuery:
    """Start the query that hands each micro-batch to a function."""
    return _started(records.writeStream.foreachBatch(batch), settings, name, every_s)


def _started(
    writer: DataStreamWriter, settings: Settings, name: str, every_s: float | None
) -> StreamingQuery:
    pause_s = settings.spark.trigger_s if every_s is None else every_s
    return (
        writer.queryName(name)
        .option("checkpointLocation", checkpoint_of(settings, name))
        .trigger(processingTime=f"{pause_s} seconds")
        .outputMode("append")
        .start()
    )


def checkpoint_of(settings: Settings, name: str) -> str:
    """Return the folder of a query's progress and state."""
    return str(settings.home / "checkpoints" / settings.kafka.topic_prefix / name)


def run_until(stop: threading.Event, queries: Sequence[StreamingQuery]) -> int:
    """Wait until told to stop or until a query fails, then stop all gracefully; return the exit code.

    Returns
    -------
    0 when told to stop, 1 when a query failed, its reason logged.

    """
    while not stop.wait(0.5):
        if not all(query.isActive for query in queries):
            break
    failed = failures(queries)
    for reason in failed:
        log.error(reason)
    stop_gracefully(queries)
    return 1 if failed else 0


def failures(queries: Sequence[StreamingQuery]) -> list[str]:
    """Return a line for each query that failed, with its reason."""
    errors = [(query.name, query.exception()) for query in queries]
    return [f"query {name} failed: {_reason(str(error))}" for name, error in errors if error is not None]


def _reason(text: str) -> str:
    causes = [line.strip() for line in text.splitlines() if "Error" in line or "Exception" in line]
    return (causes or text.splitlines() or ["no reason given"])[-1]


def stop_gracefully(queries: Sequence[StreamingQuery]) -> None:
    """Stop queries between two micro-batches, so that nothing has to be done again at the next start."""
    for query in queries:
        if query.isActive:
            _await_batch_end(query)
            query.stop()


def _await_batch_end(query: StreamingQuery) -> None:
    """Wait for the micro-batch in progress, if there is one, to be committed."""
    if not query.status["isDataAvailable"]:
        return
    before, deadline = _batch_id(query), time.monotonic() + STOP_GRACE_S
    while query.isActive and _batch_id(query) == before and time.monotonic() < deadline:
        if not query.status["isDataAvailable"]:
            return
        time.sleep(0.05)


def _batch_id(query: StreamingQuery) -> int:
    progress = query.lastProgress
    return -1 if progress is None else int(progress["batchId"])
