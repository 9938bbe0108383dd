"""Partial cascades to Hawkes parameters and features: the estimator."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from jobs.runtime.clients import largest_message_bytes
from jobs.runtime.lifecycle import run_main, stop_on_signals
from jobs.runtime.service import service
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, SettingsRefusedError, load_settings
from jobs.runtime.streams import read_topic, run_until, write_topics
from jobs.runtime.topics import CASCADE_PROPERTIES, CASCADE_SERIES, DEAD_LETTERS, topic_names
from udfs.hawkes.model import rescaled
from udfs.hawkes.udf import COUNTERS, describe_cascades

QUERY = "estimate"


def described(series: DataFrame, settings: Settings) -> DataFrame:
    """Fit every partial; promise ``topic``, ``key`` and ``value``, the counters observed."""
    topics = topic_names(settings, CASCADE_SERIES, CASCADE_PROPERTIES, DEAD_LETTERS)
    model = rescaled(settings.hawkes.mark_scale)
    rows = describe_cascades(series, model, largest_message_bytes(settings), topics)
    counted = rows.observe(QUERY, *(F.sum(name).alias(name) for name in COUNTERS))
    return counted.where(F.col("topic").isNotNull()).select("topic", "key", "value")


def start(spark: SparkSession, settings: Settings) -> list[StreamingQuery]:
    """Start the estimator's query; none where ``collect`` estimates (``spark.chained``)."""
    if settings.spark.chained:
        return []
    series = read_topic(spark, settings, CASCADE_SERIES)
    return [write_topics(described(series, settings), settings, QUERY)]


def main(argv: Sequence[str] | None = None) -> int:
    """Describe cascades until told to stop."""
    settings = load_settings(argv, "tweetoscope estimate")
    if settings.spark.chained:
        raise SettingsRefusedError("spark.chained is on: collect estimates, there is nothing left to do here")
    with service(settings, QUERY) as connection, spark_session(connection, QUERY) as spark:
        return run_until(stop_on_signals(), start(spark, connection))


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
