"""All jobs on a real broker, under a load that does not wait: what rate they hold, how late predictions are.

``make bench-pipeline`` starts what the demo starts (one Spark session with the five queries, the monitor, the
dashboard, the embedded broker) and loads it from a process of its own with batches made before the clock
starts. It climbs a ladder of rates, halves its last gap, then measures at half the highest rate that was held
how long after the event that closes a window its prediction is in ``alerts``. With ``--partitions 1,2,4`` it
measures instead how fast the collector alone reads a backlog. Any setting of the services is a flag too
(``--spark.trigger_s 1``). Figures go to ``benchmarks/results/pipeline.json``; those of ``--spark.chained
true`` lie beside the others there.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a script, not as a module
    sys.path.insert(0, str(ROOT))

from benchmarks.collect.measure import machine  # noqa: E402
from benchmarks.pipeline_parts.cpu import Processes  # noqa: E402
from benchmarks.pipeline_parts.ladder import Pace, bottleneck, delayed, filled, held, say  # noqa: E402
from benchmarks.pipeline_parts.load import Load  # noqa: E402
from benchmarks.pipeline_parts.report import rendered  # noqa: E402
from benchmarks.pipeline_parts.running import STEADY, Running, all_jobs, broker_and_spark, topics  # noqa: E402
from benchmarks.pipeline_parts.scale import scaled  # noqa: E402
from benchmarks.pipeline_parts.stream import ALPHA, MEAN_SIZE  # noqa: E402
from jobs.runtime.lifecycle import run_main  # noqa: E402
from jobs.runtime.logs import configure_logging  # noqa: E402
from jobs.runtime.settings import Settings, load_settings  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "pipeline.json"
#: Rates are looked for to this precision, events/s.
ROUND_TO = 1000


def _numbers(text: str) -> list[int]:
    return sorted({int(part) for part in text.split(",")})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench-pipeline", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--rates", type=_numbers, default=_numbers("10000,20000,40000,60000,80000,100000"), metavar="N,N,…")
    add("--seconds", type=float, default=60.0, help="time a rate is measured")
    add("--warm-s", type=float, default=20.0, help="time it is held before")
    add("--fill-s", type=float, default=3600.0, help="event time sent first, at once: fills the state")
    add("--drain-s", type=float, default=90.0, help="longest wait until what is left has been read")
    add(
        "--density", type=float, default=240.0, help="events per second of event time: sets the live cascades"
    )
    add("--refine", type=int, default=1, help="times the gap after the highest rate held is halved")
    add(
        "--latency-rate",
        type=float,
        default=0.0,
        help="measure latency at this rate, not at half the highest",
    )
    add("--partitions", type=_numbers, help="read a backlog with each number of partitions, nothing else")
    add("--backlog", type=int, default=3_000_000, help="events of that backlog")
    add("--results", type=Path, default=RESULTS, help="file of figures")
    add("--json", action="store_true", help="print the figures as one JSON line")
    return parser


def climbed(
    running: Running, load: Load, processes: Processes, options: argparse.Namespace, pace: Pace
) -> list[Any]:
    """Hold one rate after another, until two in a row are too high; then halve the gap; return the steps."""
    steps: list[dict[str, Any]] = []

    def climb(rate: float) -> bool:
        step, _ = held(running, load, processes, rate, pace)
        steps.append(step)
        slow = bottleneck(step)
        why = f", {slow} falls behind" if slow else ""
        say(f"{rate:,.0f} events/s: {'held' if step['sustained'] else 'not held' + why}")
        running.drained(STEADY, pace.drain_s)
        return bool(step["sustained"])

    failed = 0
    for rate in options.rates:
        failed = 0 if climb(rate) else failed + 1
        if failed == 2:
            break
    for _ in range(options.refine):
        low, high = highest(steps), min((s["rate"] for s in steps if s["rate"] > highest(steps)), default=0.0)
        middle = round((low + high) / 2 / ROUND_TO) * ROUND_TO
        if low < middle < high:
            climb(middle)
    return steps


def highest(steps: Sequence[dict[str, Any]]) -> float:
    """Return the highest rate that was held, 0 if none.

    >>> highest([{"rate": 10.0, "sustained": True}, {"rate": 20.0, "sustained": False}])
    10.0
    """
    return max((float(step["rate"]) for step in steps if step["sustained"]), default=0.0)


def whole(
    spark: SparkSession, settings: Settings, processes: Processes, options: argparse.Namespace
) -> dict[str, Any]:
    """Run all jobs: ladder, then latency."""
    pace = Pace(options.seconds, options.warm_s, options.drain_s, options.density)
    with (
        topics(settings, "bench", settings.demo.partitions) as named,
        all_jobs(spark, named) as running,
        closing(Load(named, options.density, 1, running.check)) as load,
    ):
        processes.sender_pid = load.pid
        facts = filled(running, load, pace, options.fill_s)
        say(f"filled; read in {facts['fill_s']} s")
        steps = climbed(running, load, processes, options, pace)
        rate = options.latency_rate or highest(steps) / 2
        latency = delayed(running, load, processes, rate, pace, named.home) if rate else None
    return {
        "load": {"density": options.density, "mean_size": MEAN_SIZE, "alpha": ALPHA, **facts},
        "settings": _settings(named),
        "ladder": sorted(steps, key=lambda step: float(step["rate"])),
        "highest_sustained_rate": highest(steps),
        "latency": latency,
    }


def _settings(settings: Settings) -> dict[str, Any]:
    sections = ("cascades", "spark", "learner")
    return {name: getattr(settings, name).model_dump(mode="json") for name in sections} | {
        "partitions": settings.kafka.partitions
    }


def _unwind_on_signals() -> None:
    """End the run as an error would, so that nothing is left behind."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def main(argv: Sequence[str]) -> int:
    """Measure, print, keep."""
    options, rest = _parser().parse_known_args(list(argv))
    settings = load_settings(rest, "bench-pipeline")
    logs = settings.logs.model_copy(update={"level": "WARNING"})
    configure_logging(settings.model_copy(update={"logs": logs}))
    # A learner's fit that is cut short at the end is no error.
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    _unwind_on_signals()
    say("starting Kafka and Spark")
    with broker_and_spark(settings) as (spark, connection, broker_pid):
        _unwind_on_signals()  # once more: the session has taken SIGINT
        processes = Processes(broker_pid)
        if options.partitions:
            rounds = scaled(
                spark, connection, processes, options.partitions, options.backlog, options.density
            )
            found: dict[str, Any] = {"scale": rounds}
        else:
            found = whole(spark, connection, processes, options)
    found["machine"] = machine()
    text = rendered(found)
    if settings.spark.chained:
        found = {"chained": found}
    known = json.loads(options.results.read_text("utf-8")) if options.results.is_file() else {}
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(known | found, indent=1) + "\n", "utf-8")
    sys.stdout.write(json.dumps(found) + "\n" if options.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
