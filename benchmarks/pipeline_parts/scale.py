"""How fast the collector alone reads a backlog from Kafka, by the number of partitions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from pyspark.sql import SparkSession

from benchmarks.pipeline_parts.cpu import Processes, cores
from benchmarks.pipeline_parts.ladder import LATE_S, say
from benchmarks.pipeline_parts.load import Load
from benchmarks.pipeline_parts.running import collector_alone, topics
from jobs import collect
from jobs.runtime.settings import Settings

#: Micro-batches before the collector's code is compiled and its state has its size.
COLD_BATCHES = 2


def scaled(
    spark: SparkSession,
    settings: Settings,
    processes: Processes,
    partitions: Sequence[int],
    events: int,
    density: float,
) -> list[dict[str, Any]]:
    """Read the same backlog with each number of partitions, as many shuffle partitions, after a warm-up."""
    rounds = [(partitions[0], min(events, 2 * settings.spark.max_events_per_trigger))]
    rounds += [(count, events) for count in partitions]
    found = []
    for number, (count, backlog) in enumerate(rounds):
        knobs = settings.spark.model_copy(update={"shuffle_partitions": count})
        own = settings.model_copy(update={"spark": knobs})
        spark.conf.set("spark.sql.shuffle.partitions", str(count))
        with topics(own, f"scale-{number}", count) as named:
            found.append(_drained(spark, named, processes, backlog, density))
    return found[1:]


def _drained(
    spark: SparkSession, settings: Settings, processes: Processes, events: int, density: float
) -> dict[str, Any]:
    """Send the backlog, then start the collector and wait until it has read it."""
    count = settings.kafka.partitions
    say(f"{count} partitions: sending {events:,} events, then the collector reads them")
    with closing(Load(settings, density, 1, lambda: None)) as load:
        facts = load.prepare(events)
        load.start()
        load.answer(LATE_S)
    with collector_alone(spark, settings) as running:
        cpu = processes.cpu_s()
        # 5,000 events/s would be slower than the slowest way that was ever tried.
        if not running.drained([collect.QUERY], 60.0 + events / 5000.0):
            raise RuntimeError("the collector does not read its backlog in time")
        cpu_now = processes.cpu_s()
        batches = running.recorder.batches[collect.QUERY]
    warm = batches[min(COLD_BATCHES, len(batches) - 1) :]
    rows, seconds = sum(batch.rows for batch in warm), sum(batch.end_s - batch.start_s for batch in warm)
    used = cores(cpu_now, cpu, 1.0)
    return {
        "partitions": count,
        "events": events,
        "live_cascades": facts["live_cascades"],
        "events_per_s": rows / seconds,
        "warm_batches": len(warm),
        "batch_s": [round(batch.end_s - batch.start_s, 2) for batch in batches],
        "cpu_s_per_million_events": {part: round(s / events * 1e6, 2) for part, s in used.items()},
    }
