"""Tweets to partial cascades and final sizes: the collector."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from jobs.runtime.lifecycle import run_main, stop_on_signals
from jobs.runtime.service import service
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.streams import read_topic, run_until, write_topics
from jobs.runtime.ticker import Ticker
from jobs.runtime.topics import (
    CASCADE_PROPERTIES,
    CASCADE_SERIES,
    DEAD_LETTERS,
    TWEETS,
    topic_name,
)
from udfs.cascades.operator import COUNTERS, GAUGES, collect_cascades
from udfs.cascades.rules import Rules

QUERY = "collect"


def rules_of(settings: Settings) -> Rules:
    """Return the collector's rules from the settings."""
    knobs = settings.cascades
    return Rules(
        windows_s=tuple(map(float, knobs.windows_s)),
        terminated_s=float(knobs.terminated_s),
        min_cascade_size=knobs.min_cascade_size,
        allowed_delay_s=knobs.allowed_delay_s,
        max_events_per_window=knobs.max_events_per_window,
        max_id_bytes=knobs.max_id_bytes,
        max_text_bytes=knobs.max_text_bytes,
        max_value_bytes=knobs.max_value_bytes,
    )


def collected(tweets: DataFrame, settings: Settings) -> DataFrame:
    """Follow cascades; promise ``topic``, ``key`` and ``value``, the counters observed."""
    topics = {
        topic.name: topic_name(settings, topic)
        for topic in (TWEETS, CASCADE_SERIES, CASCADE_PROPERTIES, DEAD_LETTERS)
    }
    rows = collect_cascades(tweets, rules_of(settings), settings.spark.buckets_per_partition, topics)
    sent = {
        "partials": topics[CASCADE_SERIES.name],
        "sizes": topics[CASCADE_PROPERTIES.name],
        "letters": topics[DEAD_LETTERS.name],
    }
    counts = [F.sum(name).alias(name) for name in (*COUNTERS, *GAUGES)]
    counts += [F.count_if(F.col("topic") == topic).alias(name) for name, topic in sent.items()]
    return rows.observe(QUERY, *counts).where(F.col("topic").isNotNull()).select("topic", "key", "value")


def start(spark: SparkSession, settings: Settings) -> list[StreamingQuery]:
    """Start the collector's query."""
    tweets = read_topic(spark, settings, TWEETS)
    return [write_topics(collected(tweets, settings), settings, QUERY)]


@contextmanager
def idle_partitions_ticked(settings: Settings, stop: threading.Event) -> Iterator[None]:
    """Let idle partitions follow the wall clock, where event time is the wall clock."""
    if settings.cascades.event_time != "wall_clock":
        yield
        return
    with closing(Ticker(settings)) as ticker:
        thread = threading.Thread(target=ticker.run, args=(stop,), name="ticker", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def main(argv: Sequence[str] | None = None) -> int:
    """Collect cascades until told to stop."""
    settings = load_settings(argv, "tweetoscope collect")
    with service(settings, QUERY) as connection, spark_session(connection, QUERY) as spark:
        stop = stop_on_signals()
        with idle_partitions_ticked(connection, stop):
            return run_until(stop, start(spark, connection))


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
