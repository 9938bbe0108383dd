"""A home, a broker, a Spark session and all jobs, started as the demo does, for the time of a benchmark."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery
from rich.console import Console

from benchmarks.pipeline_parts.cpu import Tasks
from benchmarks.pipeline_parts.lag import Ends, Recorder, durations, followed
from jobs import collect, estimate, predict, train
from jobs.dashboard import Dashboard
from jobs.monitor import Monitor
from jobs.runtime.broker import EmbeddedBroker
from jobs.runtime.jars import KINDS, ensure_jars
from jobs.runtime.model_watch import ModelWatch
from jobs.runtime.session import spark_session, warm_workers
from jobs.runtime.settings import Settings
from jobs.runtime.streams import failures, stop_gracefully
from jobs.runtime.topics import (
    ALERTS,
    CASCADE_PROPERTIES,
    CASCADE_SERIES,
    SAMPLES,
    TWEETS,
    delete_topics,
    ensure_topics,
    topic_name,
)

#: What each query reads, from the first of the chain to the last.
SOURCES = {
    collect.QUERY: (TWEETS,),
    estimate.QUERY: (CASCADE_SERIES,),
    predict.PREDICT: (CASCADE_PROPERTIES,),
    predict.SCORE: (ALERTS, CASCADE_PROPERTIES),
    train.QUERY: (SAMPLES,),
}
#: Those that read what they are given in one micro-batch or a few; a fit of the learner takes its own time.
STEADY = (collect.QUERY, estimate.QUERY, predict.PREDICT, predict.SCORE)
#: Longest wait for the threads of the services.
JOIN_S = 20.0
_HOME = "pipeline-"


@contextmanager
def own_home(settings: Settings) -> Iterator[Settings]:
    """Yield the settings with a home nobody shares, its jars those of the given one; removed at the end."""
    for kind in KINDS:
        ensure_jars(settings.home, kind)
    parent = settings.home / "bench"
    for left in parent.glob(f"{_HOME}*"):
        if not psutil.pid_exists(int(left.name.removeprefix(_HOME))):
            shutil.rmtree(left, ignore_errors=True)
    home = parent / f"{_HOME}{os.getpid()}"
    home.mkdir(parents=True)
    (home / "jars").symlink_to(settings.home / "jars", target_is_directory=True)
    try:
        yield settings.model_copy(update={"home": home})
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def broker_and_spark(settings: Settings) -> Iterator[tuple[SparkSession, Settings, int]]:
    """Yield a session, the settings with a broker's address in them, and the broker's process id."""
    with own_home(settings) as own, ExitStack() as opened, ThreadPoolExecutor(1) as pool:
        broker = EmbeddedBroker(own)
        opened.callback(broker.stop)
        starting = pool.submit(broker.start, guarded=True)
        with spark_session(own, "bench") as spark:
            warm_workers(spark)
            starting.result()
            yield spark, broker.connected_settings(), int(broker.status()["pid"])


@contextmanager
def topics(settings: Settings, prefix: str, partitions: int) -> Iterator[Settings]:
    """Yield the settings with topics of their own; deleted at the end."""
    kafka = settings.kafka.model_copy(update={"topic_prefix": f"{prefix}.", "partitions": partitions})
    own = settings.model_copy(update={"kafka": kafka})
    ensure_topics(own)
    try:
        yield own
    finally:
        delete_topics(own)


class Running:
    """Queries that run, and what is seen of them."""

    def __init__(
        self,
        queries: Sequence[StreamingQuery],
        recorder: Recorder,
        ends: Ends,
        tasks: Tasks,
        settings: Settings,
    ) -> None:
        self.queries, self.recorder, self.ends = queries, recorder, ends
        self.settings, self.tasks = settings, tasks

    def check(self) -> None:
        """Raise ``RuntimeError`` when a query has failed."""
        if failed := failures(self.queries):
            raise RuntimeError("; ".join(failed))

    def topics(self, query: str) -> list[str]:
        """Return the full names of the topics that a query reads."""
        return [topic_name(self.settings, topic) for topic in SOURCES[query]]

    def lags(self) -> dict[str, float]:
        """Return how many records wait for each query now, those of its running micro-batch counted."""
        now_s, lags = time.time(), {}
        for query in self.queries:
            last = self.recorder.batches[query.name][-1:]
            read = last[0].ends if last else {}
            waiting = [self.ends.at(topic, now_s) - read.get(topic, 0) for topic in self.topics(query.name)]
            lags[query.name] = max(0.0, sum(waiting))
        return lags

    def followed(self, start_s: float, stop_s: float) -> dict[str, dict[str, object]]:
        """Return whether each query kept up in a stretch of time, and where its time went."""
        found: dict[str, dict[str, object]] = {}
        for query in self.queries:
            verdict = followed(
                self.recorder,
                self.ends,
                query.name,
                self.topics(query.name),
                (start_s, stop_s),
                self._trigger_s(query.name),
            )
            batches = self.recorder.between(query.name, start_s, stop_s)
            found[query.name] = {"lag": verdict, "time": durations(batches)}
        return found

    def _trigger_s(self, query: str) -> float:
        spark = self.settings.spark
        return spark.learning_trigger_s if query in (predict.SCORE, train.QUERY) else spark.trigger_s

    def drained(self, names: Sequence[str], wait_s: float) -> bool:
        """Wait until the named queries have read all there is, two looks long; return whether they did."""
        deadline, empty = time.monotonic() + wait_s, 0
        while time.monotonic() < deadline:
            self.check()
            time.sleep(1.0)
            lags = self.lags()
            empty = empty + 1 if all(lags.get(name, 0.0) <= 0 for name in names) else 0
            if empty == 2:
                return True
        return False


@contextmanager
def all_jobs(spark: SparkSession, settings: Settings) -> Iterator[Running]:
    """Run the five queries, the monitor and the dashboard."""
    serving = settings.serving.model_copy(update={"monitor_port": 0, "dashboard_port": 0})
    settings = settings.model_copy(update={"serving": serving})
    recorder = Recorder()
    with ExitStack() as opened:
        ends = opened.enter_context(closing(Ends(settings)))
        models = opened.enter_context(closing(ModelWatch(settings)))
        monitor = opened.enter_context(closing(Monitor(settings)))
        board = opened.enter_context(closing(Dashboard(settings, monitor.scores)))
        nowhere = Console(file=opened.enter_context(Path(os.devnull).open("w")))
        ended = threading.Event()
        _thread(opened, ended, "monitor", lambda: monitor.run(ended))
        _thread(opened, ended, "dashboard", lambda: board.run(ended, nowhere))
        queries = [
            *collect.start(spark, settings, models),
            *estimate.start(spark, settings),
            *predict.start(spark, settings, models),
            *train.start(spark, settings, recorder),
        ]
        yield _watched(opened, spark, settings, queries, recorder, ends)


@contextmanager
def collector_alone(spark: SparkSession, settings: Settings) -> Iterator[Running]:
    """Run the collector's query and nothing else."""
    recorder = Recorder()
    with ExitStack() as opened:
        ends = opened.enter_context(closing(Ends(settings)))
        queries = collect.start(spark, settings)
        yield _watched(opened, spark, settings, queries, recorder, ends)


def _watched(
    opened: ExitStack,
    spark: SparkSession,
    settings: Settings,
    queries: Sequence[StreamingQuery],
    recorder: Recorder,
    ends: Ends,
) -> Running:
    opened.callback(stop_gracefully, queries)
    recorder.follow(queries)
    opened.callback(recorder.close)
    names = {str(query.runId): str(query.name) for query in queries}
    return Running(queries, recorder, ends, opened.enter_context(closing(Tasks(spark, names))), settings)


def _thread(opened: ExitStack, ended: threading.Event, name: str, work: Callable[[], None]) -> None:
    """Start a service's thread; it is told to end, and waited for, before what it uses is closed."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    opened.callback(thread.join, JOIN_S)
    opened.callback(ended.set)
