"""Tweets to partial cascades and final sizes: the collector.

Where ``spark.chained`` is set it estimates and predicts too: what it sends then holds the parameters and the
predictions of its partials.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from jobs.runtime.clients import largest_message_bytes
from jobs.runtime.lifecycle import run_main, stop_on_signals
from jobs.runtime.model_watch import ModelWatch
from jobs.runtime.service import service
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.streams import each_batch, read_topic, run_until, save_topics, write_topics
from jobs.runtime.ticker import Ticker
from jobs.runtime.topics import (
    ALERTS,
    CASCADE_PROPERTIES,
    CASCADE_SERIES,
    DEAD_LETTERS,
    TWEETS,
    topic_names,
)
from udfs.cascades.operator import COUNTERS, GAUGES, collect_cascades
from udfs.cascades.rules import Rules
from udfs.forest.udf import answer_partials
from udfs.hawkes.model import rescaled

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
    topics = topic_names(settings, TWEETS, CASCADE_SERIES, CASCADE_PROPERTIES, DEAD_LETTERS)
    rows = collect_cascades(tweets, rules_of(settings), settings.spark.buckets_per_partition, topics)
    sent = {
        "partials": topics[CASCADE_SERIES.name],
        "sizes": topics[CASCADE_PROPERTIES.name],
        "letters": topics[DEAD_LETTERS.name],
    }
    counts = [F.sum(name).alias(name) for name in (*COUNTERS, *GAUGES)]
    counts += [F.count_if(F.col("topic") == topic).alias(name) for name, topic in sent.items()]
    return rows.observe(QUERY, *counts).where(F.col("topic").isNotNull()).select("topic", "key", "value")


def start(spark: SparkSession, settings: Settings, models: ModelWatch | None = None) -> list[StreamingQuery]:
    """Start the collector's query; where ``spark.chained`` is set it predicts too, and needs ``models``."""
    rows = collected(read_topic(spark, settings, TWEETS), settings)
    if not settings.spark.chained:
        return [write_topics(rows, settings, QUERY)]
    if models is None:
        raise ValueError("spark.chained: no models to predict with")
    topics = topic_names(settings, CASCADE_SERIES, CASCADE_PROPERTIES, ALERTS, DEAD_LETTERS)
    model, max_bytes = rescaled(settings.hawkes.mark_scale), largest_message_bytes(settings)

    def send_batch(batch: DataFrame, _batch_id: int) -> None:
        """Predict what one micro-batch holds; every executor uses the versions chosen here."""
        save_topics(answer_partials(batch, model, max_bytes, models.choice(), topics), settings)

    return [each_batch(rows, settings, QUERY, send_batch)]


@contextmanager
def models_if_chained(settings: Settings) -> Iterator[ModelWatch | None]:
    """Yield the models in use where ``collect`` predicts, otherwise nothing."""
    if not settings.spark.chained:
        yield None
        return
    with closing(ModelWatch(settings)) as models:
        yield models


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
    with (
        service(settings, QUERY) as connection,
        spark_session(connection, QUERY) as spark,
        models_if_chained(connection) as models,
    ):
        stop = stop_on_signals()
        with idle_partitions_ticked(connection, stop):
            return run_until(stop, start(spark, connection, models))


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
