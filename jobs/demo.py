"""All of Tweetoscope in one process, on a real broker: from cascades to a summary, by one command."""

from __future__ import annotations

import argparse
import json
import logging
import re
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery
from rich.console import Console

from jobs import collect, estimate, predict, train
from jobs.dashboard import Dashboard
from jobs.generate import Progress as Sent
from jobs.generate import Report, generate, load_cascades
from jobs.monitor import Monitor
from jobs.runtime.broker import connected
from jobs.runtime.lifecycle import (
    EXIT_INTERRUPTED,
    EXIT_SETTINGS,
    configure_logging,
    run_main,
    stop_on_signals,
)
from jobs.runtime.model_watch import ModelWatch, registry_of
from jobs.runtime.progress import Progress
from jobs.runtime.schedule import plan
from jobs.runtime.session import spark_session, warm_workers
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.sources.cascades import Cascades, SourceError
from jobs.runtime.streams import failures, stop_gracefully
from jobs.runtime.summary import Summary, errors_of, render
from jobs.runtime.topics import admin_client, delete_topics, ensure_topics, partitions_by_topic
from udfs.cascades.operator import REFUSALS

log = logging.getLogger(__name__)

#: Topics and folders of a demo begin so; those of earlier demos are removed at the start of the next.
PREFIX = "demo-"
#: In so short a run Java's second compiler costs more than its code gains; what the first one makes passes
#: its default of 48 MB after a minute.
SHORT_RUN = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
#: Longest wait for the last records to be read, and for Spark's last progress report.
SETTLE_S = 20.0


class Demo:
    """One run: what it needs, what it has done, and its threads."""

    def __init__(self, settings: Settings, cascades: Cascades, console: Console) -> None:
        self.settings, self.cascades, self.console = settings, cascades, console
        self.started_s = time.monotonic()
        self.first_prediction_s: float | None = None
        self.report: Report | None = None
        self.flushed = False
        self.progress = Progress()
        self._phase = "starting"

    def say(self, phase: str) -> None:
        """Tell a person what happens now."""
        self._phase = phase
        self.console.print(
            f"[{time.monotonic() - self.started_s:5.1f} s] {phase}", markup=False, highlight=False
        )

    def notes(self) -> list[str]:
        """Return the line above the board."""
        rates = self.progress.rates()
        rows = "  ".join(f"{name} {rate:,.0f}/s" for name, rate in rates.items())
        return [f"{time.monotonic() - self.started_s:.0f} s  {self._phase}  {rows}"]

    def run(self, spark: SparkSession, stop: threading.Event) -> Summary:
        """Run everything until the replay is done and flushed, or until told to stop."""
        with ExitStack() as opened:
            opened.enter_context(closing(self.progress))
            models = opened.enter_context(closing(ModelWatch(self.settings)))
            monitor = opened.enter_context(closing(Monitor(self.settings)))
            board = Dashboard(self.settings, monitor.scores, notes=self.notes)
            opened.enter_context(closing(board))
            self.say(f"metrics of errors at {monitor.server.url}, of hot posts at {board.server.url}")
            self.say("starting the streaming queries")
            queries = [
                *collect.start(spark, self.settings, models),
                *estimate.start(spark, self.settings),
                *predict.start(spark, self.settings, models),
                *train.start(spark, self.settings, self.progress),
            ]
            self.progress.follow(queries)
            ended = threading.Event()
            threads = [
                threading.Thread(target=self._work, args=(queries, stop, ended), name="replay", daemon=True),
                threading.Thread(target=monitor.run, args=(ended,), name="monitor", daemon=True),
                threading.Thread(target=self._watch, args=(board, queries, stop, ended), daemon=True),
            ]
            for thread in threads:
                thread.start()
            board.run(ended, self.console)
            for thread in threads[1:]:
                thread.join(SETTLE_S)
            self._settle(monitor, board)
            failed = failures(queries)
            self.say("stopping the queries between two micro-batches")
            stop_gracefully(queries)
            threads[0].join(SETTLE_S)
        if failed:
            raise RuntimeError("; ".join(failed))
        return self._summary(monitor, board)

    def _work(self, queries: Sequence[StreamingQuery], stop: threading.Event, ended: threading.Event) -> None:
        """Replay, then wait until each query has done all that the one before it sent."""
        try:
            self.say(
                f"replaying {len(self.cascades):,} cascades, {len(self.cascades.events.times_s):,} events"
            )
            self.report = generate(self.settings, self.cascades, stop, self._sending)
            for query in queries if self.report.complete else ():
                self._phase = f"replay done, flushing {query.name}"
                query.processAllAvailable()
            self.flushed = self.report.complete and self.report.failures == 0 and not stop.is_set()
        except Exception:
            if not stop.is_set():
                log.exception("the replay failed")
        finally:
            stop.set()

    def _sending(self, sent: Sent) -> None:
        share = sent.events / sent.total
        self._phase = f"replay {share:.0%}, simulated {sent.event_time_s / 3600:.1f} h"

    def _watch(
        self,
        board: Dashboard,
        queries: Sequence[StreamingQuery],
        stop: threading.Event,
        ended: threading.Event,
    ) -> None:
        """Note the first prediction; end the run when told to stop or when a query fails."""
        while not stop.wait(0.2):
            if self.first_prediction_s is None and board.predictions:
                self.first_prediction_s = time.monotonic() - self.started_s
            if not all(query.isActive for query in queries):
                stop.set()
        ended.set()

    def _settle(self, monitor: Monitor, board: Dashboard) -> None:
        """Read what the last micro-batches sent, and wait for their progress reports."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            monitor.poll_once()
            board.poll_once()
            if not (monitor.lag() or board.lag()) and (self._reported() or not self.flushed):
                return

    def _reported(self) -> bool:
        if self.report is None:
            return False
        rows = {name: self.progress.counts(name).get("rows", 0) for name in (collect.QUERY, estimate.QUERY)}
        sent = self.report.events + self.report.ticks
        described = self.settings.spark.chained or rows[estimate.QUERY] >= self._collected("partials")
        return rows[collect.QUERY] >= sent and described

    def _collected(self, name: str) -> int:
        return self.progress.counts(collect.QUERY).get(name, 0)

    def _summary(self, monitor: Monitor, board: Dashboard) -> Summary:
        report, registry = self.report, registry_of(self.settings)
        return Summary(
            complete=self.flushed,
            seconds=time.monotonic() - self.started_s,
            first_prediction_s=self.first_prediction_s,
            events=report.events if report else 0,
            cascades=report.cascades if report else 0,
            in_cascades=self._collected("counted"),
            in_cascades_late=self._collected("counted_late"),
            **{name: self._collected(name) for name in REFUSALS},
            waiting=self._collected("waiting"),
            partials=self._collected("partials"),
            predictions=board.predictions,
            popular=board.popular,
            stats=self.progress.counts(predict.SCORE).get("stats", 0),
            models={window: registry.versions(window) for window in self.settings.cascades.windows_s},
            errors=errors_of(monitor.scores),
        )


def demo_settings(settings: Settings, data: Sequence[Path]) -> Settings:
    """Return the settings of a demo: its own topics, its own cascades when none are given, free ports."""
    knobs = settings.demo
    made = {"cascades": knobs.cascades, "horizon_s": knobs.horizon_s}
    made |= {"concurrent": knobs.concurrent, "start_range_s": knobs.start_range_s}
    prefix = f"{settings.kafka.topic_prefix}{PREFIX}{int(time.time())}."
    return settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(
                update={"topic_prefix": prefix, "partitions": knobs.partitions}
            ),
            "generator": settings.generator.model_copy(update={} if data else made),
            "spark": settings.spark.model_copy(
                update={"java_options": f"{settings.spark.java_options} {SHORT_RUN}"}
            ),
        }
    )


def paced(settings: Settings, cascades: Cascades) -> Settings:
    """Choose the acceleration with which the replay takes ``demo.duration_s``."""
    span_s = float(plan(cascades, settings.generator).event_time_s[-1])
    acceleration = max(1.0, span_s / settings.demo.duration_s)
    generator = settings.generator.model_copy(update={"acceleration": acceleration})
    return settings.model_copy(update={"generator": generator})


def clear_topics(settings: Settings) -> None:
    """Remove the topics of earlier demos that were killed, on the embedded broker, which nobody shares."""
    topics = partitions_by_topic(admin_client(settings), settings)
    for prefix in {found.group() for name in topics if (found := re.match(rf"{PREFIX}\d+\.", name))}:
        kafka = settings.kafka.model_copy(update={"topic_prefix": prefix})
        delete_topics(settings.model_copy(update={"kafka": kafka}))


def clear_folders(settings: Settings) -> None:
    """Remove what earlier demos left in the home folder: checkpoints and models."""
    for kind in ("checkpoints", "models"):
        for folder in (settings.home / kind).glob(f"{PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tweetoscope demo", description=__doc__, allow_abbrev=False, add_help=False
    )
    parser.add_argument("--data", nargs="+", type=Path, default=[], metavar="FILE")
    parser.add_argument("--json", action="store_true")
    return parser


def _run(demo: Demo) -> Summary:
    """Start Kafka and Spark side by side, run, and leave no topic behind."""
    given = demo.settings.kafka.bootstrap_servers
    demo.say(f"starting Spark{'' if given else ' and Kafka'}")
    with ExitStack() as kafka, ThreadPoolExecutor(1) as pool:
        starting = pool.submit(kafka.enter_context, connected(demo.settings))
        with spark_session(demo.settings, "demo") as spark:
            warm_workers(spark)
            demo.settings = starting.result()
            stop = stop_on_signals()
            demo.say(f"Kafka at {demo.settings.kafka.bootstrap_servers}; creating topics")
            if not given:
                clear_topics(demo.settings)
            ensure_topics(demo.settings)
            try:
                return demo.run(spark, stop)
            finally:
                delete_topics(demo.settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when every event is accounted for, 1 when not, 130 when interrupted."""
    flags, rest = _parser().parse_known_args(list(argv or []))
    if {"-h", "--help"} & set(rest):
        sys.stdout.write(
            "--data FILE [FILE]  replay these cascades\n--json  print JSON, progress on stderr\n\n"
        )
    settings = demo_settings(load_settings(rest, "tweetoscope demo"), flags.data)
    configure_logging(
        settings.model_copy(update={"logs": settings.logs.model_copy(update={"level": "WARNING"})})
    )
    try:
        cascades = load_cascades(settings, flags.data)
    except SourceError as refused:
        sys.stderr.write(f"tweetoscope: {refused}\n")
        return EXIT_SETTINGS
    clear_folders(settings)
    demo = Demo(paced(settings, cascades), cascades, Console(stderr=flags.json))
    summary = _run(demo)
    if flags.json:
        sys.stdout.write(json.dumps(summary.to_dict()) + "\n")
    else:
        demo.console.print(render(summary))
    if not summary.complete:
        return EXIT_INTERRUPTED
    return 0 if summary.sound else 1


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
