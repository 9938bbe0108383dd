"""Described cascades to predictions, and predictions to errors and samples: the predictor.

Two queries. ``predict`` scores parameters by the window's current model and sends alerts. ``score`` joins the
alerts with the final sizes and sends, for that very prediction, its error and a sample to learn from.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from jobs.runtime.lifecycle import run_main, stop_on_signals
from jobs.runtime.model_watch import ModelWatch
from jobs.runtime.service import service
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.streams import each_batch, read_topic, run_until, save_topics, write_topics
from jobs.runtime.topics import (
    ALERTS,
    CASCADE_PROPERTIES,
    DEAD_LETTERS,
    SAMPLES,
    STATS,
    topic_name,
    topic_names,
)
from udfs.cascades.series import MAX_WINDOW_S
from udfs.forest.udf import correction_target, relative_error, score_cascades

PREDICT, SCORE = "predict", "score"
#: What identifies a prediction: an id may return after its cascade has ended.
IDENTITY = ["cid", "T_obs", "t_root"]

_ALERT = (
    "type string, cid string, T_obs double, t_root double, n_tot double, n_tot_kn double, "
    "n_tot_hawkes double, n_obs long, mid double, half double, n_star double, G1 double, "
    "model_version string, X map<string, double>"
)
_SIZE = "type string, cid string, T_obs double, t_root double, n_tot long, t_end double"


def scored(alerts: DataFrame, properties: DataFrame, settings: Settings) -> DataFrame:
    """Join predictions with final sizes; promise ``topic``, ``key`` and ``value``.

    Both inputs are Kafka records; their append time is the join's clock. A prediction waits
    ``spark.max_join_wait_s`` for its size, or a size for its prediction, then leaves the state. Values that
    are no alert or no size are left to the readers that send dead letters for these topics: the dashboard and
    the ``predict`` query.
    """
    wait, delay = (f"{s} seconds" for s in (settings.spark.max_join_wait_s, settings.spark.watermark_delay_s))
    predicted = (
        _typed(alerts, "alert", _ALERT)
        .withColumnRenamed("at", "alerted_at")
        .withWatermark("alerted_at", delay)
    )
    known = (
        _typed(properties, "size", _SIZE)
        .where(F.col("t_end").isNotNull())
        .select(*IDENTITY, F.col("n_tot").alias("popularity"), F.col("at").alias("sized_at"))
        .withWatermark("sized_at", delay)
    )
    apart = F.expr(f"sized_at BETWEEN alerted_at - INTERVAL {wait} AND alerted_at + INTERVAL {wait}")
    same = [predicted[name] == known[name] for name in IDENTITY]
    pairs = predicted.join(known, [*same, apart]).select(predicted["*"], known["popularity"])
    once = pairs.dropDuplicatesWithinWatermark(IDENTITY)
    sent = F.array(
        _record(settings, STATS, _stat()),
        _record(settings, SAMPLES, _sample()),
    )
    return once.select("cid", F.explode(sent).alias("sent")).select(
        "sent.topic",
        F.col("cid").cast("binary").alias("key"),
        F.col("sent.value").cast("binary").alias("value"),
    )


def _typed(records: DataFrame, kind: str, schema: str) -> DataFrame:
    parsed = records.select(F.from_json(F.col("value").cast("string"), schema).alias("v"), "timestamp")
    whole = (F.col("cid") != "") & F.col("T_obs").between(1, MAX_WINDOW_S)
    # A prediction or a size below 1 cannot be; NaN, which Spark holds to be the largest number, fails too.
    whole &= (F.col("n_tot") >= 1) & (F.col("n_tot") < float("inf"))
    rows = parsed.select("v.*", F.col("timestamp").alias("at"))
    return rows.where((F.col("type") == kind) & whole).drop("type")


def _record(settings: Settings, topic: object, value: Column) -> Column:
    return F.struct(F.lit(topic_name(settings, topic)).alias("topic"), F.to_json(value).alias("value"))  # type: ignore[arg-type]


def _stat() -> Column:
    popularity = F.col("popularity")
    return F.struct(
        F.lit("stat").alias("type"),
        "cid",
        F.col("T_obs").cast("long").alias("T_obs"),
        "t_root",
        relative_error(F.col("n_tot"), popularity).alias("ARE"),
        relative_error(F.col("n_tot_hawkes"), popularity).alias("ARE_hawkes"),
        relative_error(F.col("n_tot_kn"), popularity).alias("ARE_kn"),
        popularity.alias("n_tot"),
        F.col("n_tot").alias("n_tot_predicted"),
        "n_obs",
        "model_version",
    )


def _sample() -> Column:
    target = correction_target(F.col("popularity"), F.col("n_obs"), F.col("G1"), F.col("n_star"))
    return F.struct(
        F.lit("sample").alias("type"),
        "cid",
        F.col("T_obs").cast("long").alias("T_obs"),
        "t_root",
        "X",
        "n_obs",
        F.col("popularity").alias("n_tot"),
        F.col("n_tot").alias("n_tot_predicted"),
        "n_tot_hawkes",
        "mid",
        "half",
        "model_version",
        target.alias("W"),
    )


def start(spark: SparkSession, settings: Settings, models: ModelWatch) -> list[StreamingQuery]:
    """Start both queries; only ``score`` where ``collect`` predicts (``spark.chained``)."""
    topics = topic_names(settings, ALERTS, CASCADE_PROPERTIES, DEAD_LETTERS)

    def predict_batch(properties: DataFrame, _batch_id: int) -> None:
        """Score one micro-batch; every executor uses the versions chosen here."""
        save_topics(score_cascades(properties, models.choice(), topics), settings)

    alerts = read_topic(spark, settings, ALERTS)
    rows = scored(alerts, read_topic(spark, settings, CASCADE_PROPERTIES), settings)
    counts = rows.observe(SCORE, F.count_if(F.col("topic") == topic_name(settings, STATS)).alias("stats"))
    score = write_topics(counts, settings, SCORE, settings.spark.learning_trigger_s)
    if settings.spark.chained:
        return [score]
    properties = read_topic(spark, settings, CASCADE_PROPERTIES)
    return [each_batch(properties, settings, PREDICT, predict_batch), score]


def main(argv: Sequence[str] | None = None) -> int:
    """Predict, and score predictions, until told to stop."""
    settings = load_settings(argv, "tweetoscope predict")
    with (
        service(settings, PREDICT) as connection,
        spark_session(connection, PREDICT) as spark,
        closing(ModelWatch(connection)) as models,
    ):
        return run_until(stop_on_signals(), start(spark, connection, models))


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
