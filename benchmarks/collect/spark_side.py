"""A process with one Spark session that runs one system: JSON commands on stdin, a JSON line for each out.

Commands: ``{"do": "warm", "dataset", "source"}`` runs the warm part into a checkpoint that is kept;
``{"do": "round", "dataset", "source", "batch", "count"}`` measures micro-batches from there on;
``{"do": "compare", "dataset", "out"}`` runs all of a data set from files into parquet files;
``{"do": "stop"}`` ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from benchmarks.collect import data, scala_peer
from benchmarks.collect.measure import TreeMeter, Written
from benchmarks.collect.progress import figures_of, state_of
from jobs.runtime.jars import connector_jars
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings
from jobs.runtime.streams import read_topic
from jobs.runtime.topics import TWEETS

SYSTEMS = ("ours", "scala", "scala_from_json", "read")
SCHEMA = "key binary, value binary, partition int, offset long"
#: Between two looks at a query's progress: a tenth of the shortest micro-batch.
POLL_S = 0.2
#: A peer is tuned for its state: a count of rows costs a read with each write, and 8 MB of cache are few.
SCALA_CONF = {
    "spark.sql.streaming.stateStore.rocksdb.trackTotalNumberOfRows": "false",
    "spark.sql.streaming.stateStore.rocksdb.blockCacheSizeMB": "256",
}


class Side:
    """One system on one session."""

    def __init__(self, spark: SparkSession, settings: Settings, system: str) -> None:
        self.spark, self.settings, self.system = spark, settings, system
        self.folder = settings.home / "run" / system
        jvm = next(child for child in psutil.Process().children() if "java" in child.name())
        self.meter = TreeMeter(jvm.pid)

    def warm(self, dataset: str, source: str) -> dict[str, Any]:
        """Run the warm part into the base checkpoint."""
        work = self.folder / f"{dataset}-{source}"
        shutil.rmtree(work, ignore_errors=True)
        folder = data.ensure(self.settings.home / "data", dataset)
        (work / "input").mkdir(parents=True)
        _link(folder / "warm", work / "input")
        shape = data.DATASETS[dataset]
        start = time.monotonic()
        query = self._start(dataset, source, shape.warm_batch, work / "base", work / "input")
        query.awaitTermination()
        events = sum(progress["numInputRows"] for progress in query.recentProgress)
        expected = data.meta_of(folder)["warm_events"]
        if events != expected:
            raise RuntimeError(f"{events} events were read to warm up, not {expected}")
        self._unload()
        return {"events": events, "seconds": time.monotonic() - start}

    def round(
        self, dataset: str, source: str, batch: int, count: int, every_s: float = 0.0, at_least_s: float = 0.0
    ) -> dict[str, Any]:
        """Measure ``count`` micro-batches after a first one, in which state is loaded.

        One starts ``every_s`` if set; the checkpoint is watched for ``at_least_s``.
        """
        work = self.folder / f"{dataset}-{source}"
        checkpoint = work / "round"
        shutil.rmtree(checkpoint, ignore_errors=True)
        # Spark never writes into a file of a checkpoint: links are copies.
        shutil.copytree(work / "base", checkpoint, copy_function=os.link)
        warm = _names(data.ensure(self.settings.home / "data", dataset) / "warm")
        for path in (work / "input").iterdir():
            if path.name not in warm:
                path.unlink()
        _link(data.ensure(self.settings.home / "data", dataset) / str(batch), work / "input")
        query = self._start(dataset, source, batch, checkpoint, work / "input", every_s=every_s)
        try:
            figures = self._measured(query, Written(checkpoint), 1 + count, at_least_s)
        finally:
            if query.isActive:
                query.stop()
        self._unload()
        shutil.rmtree(checkpoint, ignore_errors=True)
        if self.system.startswith("scala"):
            figures["watermark_delay_s"] = round(self._delay_s(dataset, source), 1)
        return figures

    def compare(self, dataset: str, out: str) -> dict[str, Any]:
        """Run all of a data set, and what closes every window, into parquet files."""
        work = self.folder / f"{dataset}-compare"
        shutil.rmtree(work, ignore_errors=True)
        folder, batch = (
            data.ensure(self.settings.home / "data", dataset),
            data.DATASETS[dataset].batches[-1][0],
        )
        (work / "input").mkdir(parents=True)
        for part in ("warm", str(batch), "flush"):
            _link(folder / part, work / "input")
        query = self._start(dataset, "files", batch, work / "checkpoint", work / "input", out=out)
        query.awaitTermination()
        dropped = sum(state_of(progress)["dropped"] for progress in query.recentProgress)
        self._unload()
        return {"events": sum(p["numInputRows"] for p in query.recentProgress), "dropped": dropped}

    def _start(
        self,
        dataset: str,
        source: str,
        batch: int,
        checkpoint: Path,
        folder: Path,
        *,
        out: str = "",
        every_s: float = 0.0,
    ) -> StreamingQuery:
        settings = _of_dataset(self.settings, dataset, batch)
        if source == "kafka":
            tweets = read_topic(self.spark, settings, TWEETS)
        else:
            files = self.spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", data.KAFKA_PARTITIONS)
            tweets = files.parquet(str(folder))
        rows = self._rows(tweets, settings, self._delay_s(dataset, source))
        writer = rows.writeStream.option("checkpointLocation", str(checkpoint))
        writer = (
            writer.trigger(processingTime=f"{every_s} seconds")
            if every_s
            else writer.trigger(availableNow=True)
        )
        if out:
            return writer.format("parquet").option("path", out).start()
        return writer.format("noop").start()

    def _rows(self, tweets: DataFrame, settings: Settings, delay_s: float) -> DataFrame:
        if self.system == "ours":
            from jobs.collect import collected

            return collected(tweets, settings)
        if self.system.startswith("scala"):
            return scala_peer.scala_rows(tweets, delay_s, by_from_json=self.system == "scala_from_json")
        return tweets.select("value")

    def _delay_s(self, dataset: str, source: str) -> float:
        meta = data.meta_of(data.ensure(self.settings.home / "data", dataset))
        return scala_peer.FILES_DELAY_S + (float(str(meta["kafka_skew_s"])) if source == "kafka" else 0.0)

    def _measured(
        self, query: StreamingQuery, written: Written, wanted: int, at_least_s: float
    ) -> dict[str, Any]:
        """Watch a query until it has done so many micro-batches; the first is not counted."""
        seen, cpu_s, start = 0, (0.0, 0.0), time.monotonic()
        while seen < wanted:
            active, done = query.isActive, len(query._jsq.recentProgress())  # type: ignore[attr-defined]
            if done > seen:
                if seen == 0:
                    cpu_s = (self.meter.cpu_s(), 0.0)
                    written.restart()
                    self.meter.start()
                else:
                    written.look()
                cpu_s = (cpu_s[0], self.meter.cpu_s())
                seen = done
            elif not active:
                break
            time.sleep(POLL_S)
        while query.isActive and time.monotonic() - start < at_least_s:
            time.sleep(1)
            written.look()
        peak_mb = self.meter.stop()
        failure = query.exception()
        if failure is not None:
            raise RuntimeError(str(failure)[-2000:])
        batches = [p for p in query.recentProgress if p["numInputRows"]][1:wanted]
        if not batches:
            raise RuntimeError("the query had no micro-batch after its first")
        return figures_of(batches, cpu_s[1] - cpu_s[0], peak_mb, written)

    def _unload(self) -> None:
        """Close the state stores now: they would wait for the next upkeep, in the next round."""
        state = self.spark._jvm.org.apache.spark.sql.execution.streaming.state.StateStore  # type: ignore[union-attr]
        state.stop()
        self.spark._jvm.System.gc()  # type: ignore[union-attr]


def _of_dataset(settings: Settings, dataset: str, batch: int) -> Settings:
    """Return the settings with the data set's topics and micro-batches of this size."""
    kafka = settings.kafka.model_copy(update={"topic_prefix": f"bench.{dataset}."})
    spark = settings.spark.model_copy(update={"max_events_per_trigger": batch})
    return settings.model_copy(update={"kafka": kafka, "spark": spark})


def _link(source: Path, target: Path) -> None:
    for path in sorted(source.glob("*.parquet")):
        os.link(path, target / f"{source.name}-{path.name}")


def _names(folder: Path) -> set[str]:
    return {f"{folder.name}-{path.name}" for path in folder.glob("*.parquet")}


def serve(side: Side, answer: Callable[[dict[str, Any]], None]) -> None:
    """Do one command after the other until ``stop`` or the end of stdin."""
    for line in sys.stdin:
        command = json.loads(line)
        action = command.pop("do")
        if action == "stop":
            return
        try:
            answer(getattr(side, action)(**command))
        except Exception as error:
            traceback.print_exc()
            answer({"error": f"{type(error).__name__}: {error}"[:2000]})


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", choices=SYSTEMS, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--bootstrap", default="")
    parser.add_argument("--heap", default="4g")
    options = parser.parse_args(argv)
    # Whatever Java or a library prints goes to stderr: stdout is for answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    settings = Settings(
        home=options.home,
        kafka={"bootstrap_servers": options.bootstrap},  # type: ignore[arg-type]
        spark={"driver_memory": options.heap, "ui_port": 0},  # type: ignore[arg-type]
    )
    if options.system.startswith("scala"):
        jar = scala_peer.ensure_jar(options.home / "scala")
        conf = [word for key, value in SCALA_CONF.items() for word in ("--conf", f"{key}={value}")]
        # It takes the place of the class path that the session sets.
        class_path = os.pathsep.join(map(str, [jar, *connector_jars(settings)]))
        words = ["--driver-class-path", class_path, *conf, "pyspark-shell"]
        os.environ["PYSPARK_SUBMIT_ARGS"] = shlex.join(words)
    with spark_session(settings, f"bench-{options.system}") as spark:
        side = Side(spark, settings, options.system)

        def answer(result: dict[str, Any]) -> None:
            answers.write(json.dumps(result) + "\n")

        answer({"ready": options.system})
        serve(side, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
