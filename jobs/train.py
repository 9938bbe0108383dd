"""Samples to models: the learner.

``--follow`` refits a window after every ``learner.mini_batch`` new samples and tunes it after every
``learner.batch``, but rests between two fits so that they take at most ``learner.busy_share`` of the time;
``--once`` tunes and refits all windows and ends, for a scheduler.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from confluent_kafka import OFFSET_END, Consumer, TopicPartition
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from jobs.runtime.clients import client_config, producer, spark_options
from jobs.runtime.lifecycle import run_main, stop_on_signals
from jobs.runtime.manifest import Manifest
from jobs.runtime.model_watch import registry_of
from jobs.runtime.progress import Progress
from jobs.runtime.service import service
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.streams import SCHEMA_VERSION, each_batch, read_topic, run_until
from jobs.runtime.topics import DEAD_LETTERS, MODELS, SAMPLES, partition_count, topic_name
from udfs.forest.evaluate import score
from udfs.forest.learned import samples_of
from udfs.forest.train import TreeOptions, train, tune
from udfs.forest.udf import judged_samples, typed_samples

log = logging.getLogger(__name__)

QUERY = "train"
#: Records read for each wanted sample: windows share a partition unevenly, and some come twice.
READ_AHEAD = 2
#: Predictions whose errors a manifest tells.
SCORED_SAMPLES = 512


def newest_samples(spark: SparkSession, settings: Settings) -> DataFrame:
    """Read the newest samples as a batch; no more than the learner can use, whatever the topic holds."""
    topic, count = topic_name(settings, SAMPLES), partition_count(settings, SAMPLES)
    wanted = READ_AHEAD * settings.learner.max_samples * len(settings.cascades.windows_s) // count + 1
    consumer = Consumer({**client_config(settings), "group.id": "unused", "enable.auto.commit": False})
    marks = [consumer.get_watermark_offsets(TopicPartition(topic, i, OFFSET_END), 15) for i in range(count)]
    consumer.close()
    starts = {str(i): max(low, high - wanted) for i, (low, high) in enumerate(marks)}
    ends = {str(i): high for i, (_, high) in enumerate(marks)}
    return (
        spark.read.format("kafka")
        .options(**spark_options(settings))
        .option("subscribe", topic)
        .option("startingOffsets", json.dumps({topic: starts}))
        .option("endingOffsets", json.dumps({topic: ends}))
        .load()
    )


def refit(samples: DataFrame, settings: Settings, tuned: dict[int, TreeOptions | None]) -> list[Manifest]:
    """Train and publish the windows named in ``tuned``, one after another in one Spark task.

    Side by side they would take every core of a small machine from the queries that predictions wait for.

    ``tuned`` maps a window to the options of its trees; None has them tuned first. Windows with fewer than
    ``learner.mini_batch`` samples are left alone. Returns the manifests.
    """
    registry, learner = registry_of(settings), settings.learner

    def train_window(rows: pd.DataFrame) -> pd.DataFrame:
        window_s = int(rows["T_obs"].iloc[0])
        in_time = rows.sort_values(["timestamp", "partition", "offset"])
        known = samples_of(in_time).newest(learner.max_samples)
        if len(known) < learner.mini_batch:
            return pd.DataFrame({"manifest": pd.Series(dtype=str)})
        options = tuned[window_s] or tune(known, learner.seed)
        model = train(known, window_s, options, learner.seed)
        scores = score(known.newest(SCORED_SAMPLES))
        manifest = registry.publish(window_s, model, options=options, scores=scores)
        return pd.DataFrame({"manifest": [manifest.model_dump_json()]})

    wanted = samples.where(F.col("T_obs").isin([float(window_s) for window_s in tuned])).coalesce(1)
    rows = wanted.groupBy("T_obs").applyInPandas(train_window, "manifest string").collect()
    return [Manifest.model_validate_json(row["manifest"]) for row in rows]


def announce(settings: Settings, manifests: Sequence[Manifest]) -> None:
    """Tell the predictor, after the files are in place."""
    sender = producer(settings)
    for manifest in manifests:
        key, value = str(manifest.window_s).encode(), manifest.model_dump_json().encode()
        sender.produce(topic_name(settings, MODELS), value, key, headers={"schema": SCHEMA_VERSION})
        log.info("published a model", extra=_summary(manifest))
    sender.flush()


def send_letters(settings: Settings, letters: Sequence[tuple[bytes | None, bytes]]) -> None:
    """Send dead letters, if there are any, before the micro-batch that found them is done."""
    if not letters:
        return
    sender = producer(settings)
    for key, value in letters:
        sender.produce(topic_name(settings, DEAD_LETTERS), value, key, headers={"schema": SCHEMA_VERSION})
    sender.flush()


def _summary(manifest: Manifest) -> dict[str, object]:
    return {"window_s": manifest.window_s, "version": manifest.version, "samples": manifest.n_samples}


@dataclass
class Schedule:
    """Which windows are due: samples seen since each was fitted and tuned."""

    settings: Settings
    since_fit: Counter[int] = field(default_factory=Counter)
    since_tuning: Counter[int] = field(default_factory=Counter)
    options: dict[int, TreeOptions] = field(default_factory=dict)
    rest_until_s: float = 0.0
    """On the clock of ``time.monotonic``: no window is due before."""

    def add(self, counts: dict[int, int]) -> None:
        """Count new samples."""
        self.since_fit.update(counts)
        self.since_tuning.update(counts)

    def due(self) -> dict[int, TreeOptions | None]:
        """Return the windows to fit with their options, None to tune, and start counting anew for them."""
        learner = self.settings.learner
        due: dict[int, TreeOptions | None] = {}
        if time.monotonic() < self.rest_until_s:
            return due
        for window_s in self.settings.cascades.windows_s:
            if self.since_fit[window_s] < learner.mini_batch:
                continue
            tuning = self.since_tuning[window_s] >= learner.batch
            due[window_s] = None if tuning else self.options.get(window_s, TreeOptions())
            self.since_fit[window_s] = 0
            if tuning:
                self.since_tuning[window_s] = 0
        return due

    def fitted(self, manifests: Sequence[Manifest], seconds: float = 0.0) -> None:
        """Remember what was tuned; rest in proportion to the seconds that it took."""
        self.rest_until_s = time.monotonic() + seconds * (1.0 / self.settings.learner.busy_share - 1.0)
        self.options.update({manifest.window_s: manifest.options for manifest in manifests})


def start(spark: SparkSession, settings: Settings, progress: Progress) -> list[StreamingQuery]:
    """Start following the samples; what the registry has is announced again first."""
    newest = [registry_of(settings).newest(window_s) for window_s in settings.cascades.windows_s]
    known = [manifest for manifest in newest if manifest]
    announce(settings, known)
    schedule = Schedule(settings)
    schedule.fitted(known)

    def learn(records: DataFrame, _batch_id: int) -> None:
        rows = judged_samples(records, topic_name(settings, SAMPLES)).collect()
        send_letters(settings, [(row["key"], row["value"]) for row in rows if row["value"] is not None])
        for row in rows:
            if row["T_obs"] is not None:
                schedule.add({int(row["T_obs"]): row["count"]})
        due = schedule.due()
        if due:
            began_s = time.monotonic()
            manifests = refit(typed_samples(newest_samples(spark, settings)), settings, due)
            schedule.fitted(manifests, time.monotonic() - began_s)
            announce(settings, manifests)
            progress.add(QUERY, {"models": len(manifests)})

    samples = read_topic(spark, settings, SAMPLES)
    return [each_batch(samples, settings, QUERY, learn, settings.spark.learning_trigger_s)]


def train_once(spark: SparkSession, settings: Settings) -> list[Manifest]:
    """Tune and refit every window that has enough samples, and announce the models."""
    every: dict[int, TreeOptions | None] = dict.fromkeys(settings.cascades.windows_s)
    manifests = refit(typed_samples(newest_samples(spark, settings)), settings, every)
    announce(settings, manifests)
    return manifests


def main(argv: Sequence[str] | None = None) -> int:
    """Learn from samples: once, or until told to stop."""
    parser = argparse.ArgumentParser("tweetoscope train", description=main.__doc__, allow_abbrev=False)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--once", action="store_true", help="train all windows and end")
    mode.add_argument("--follow", action="store_true", help="train as samples come (the default)")
    parser.add_argument("--json", action="store_true", help="with --once: print the manifests")
    options, flags = parser.parse_known_args(argv)
    settings = load_settings(flags, parser.prog)
    with service(settings, QUERY) as connection, spark_session(connection, QUERY) as spark:
        if not options.once:
            return run_until(stop_on_signals(), start(spark, connection, Progress()))
        manifests = train_once(spark, connection)
    if options.json:
        sys.stdout.write(json.dumps([manifest.model_dump(mode="json") for manifest in manifests]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
