"""Cascades to tweets: the generator, which simulates or replays."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from jobs.runtime.lifecycle import EXIT_SETTINGS, run_main, stop_on_signals
from jobs.runtime.pacing import Pace
from jobs.runtime.schedule import Schedule, plan
from jobs.runtime.sender import Sender
from jobs.runtime.service import service
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.sources.cascades import Cascades, SourceError
from jobs.runtime.sources.formats import read_cascades
from jobs.runtime.sources.simulated import simulated
from jobs.runtime.topics import TWEETS, partition_count, topic_name
from jobs.runtime.tweets import Tweets, closing_tick

log = logging.getLogger(__name__)

SERVICE = "generate"
#: Events encoded and sent between two looks at the clock: 20 ms at full speed.
BATCH = 4096
#: Time between two progress lines where there is no terminal.
LINE_S = 10.0


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    events: int
    total: int
    event_time_s: float
    elapsed_s: float


@dataclass(frozen=True)
class Report:
    """What a run sent. ``failures`` records were not delivered; ``complete`` unless it was stopped."""

    events: int
    cascades: int
    ticks: int
    first_event_s: float | None
    last_event_s: float | None
    wall_s: float
    failures: int
    complete: bool


def generate(
    settings: Settings,
    cascades: Cascades,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Send all cascades, then one tick to every partition, so that every window and cascade closes.

    Parameters
    ----------
    settings
        With the brokers' address in them, and the topics made.
    cascades
        What to send.
    stop
        Ends the run early; then no tick is sent.
    on_progress
        Called about every 50 ms.

    """
    started_s = time.monotonic()
    schedule = plan(cascades, settings.generator)
    sender = Sender(settings, topic_name(settings, TWEETS), stop)
    tweets = Tweets(cascades, schedule, settings)
    events = _replay(settings, schedule, tweets, sender, stop, on_progress)
    sender.flush()
    complete = events == len(schedule) and not stop.is_set()
    last_s = float(schedule.event_time_s[events - 1]) if events else None
    ticks = 0
    if complete and last_s is not None:
        ticks = partition_count(settings, TWEETS)
        tick = closing_tick(last_s, settings)
        for partition in range(ticks):
            sender.send_to(partition, tick)
        sender.flush()
    return Report(
        events=events,
        cascades=int((schedule.position[:events] == 0).sum()),
        ticks=ticks,
        first_event_s=float(schedule.event_time_s[0]) if events else None,
        last_event_s=last_s,
        wall_s=time.monotonic() - started_s,
        failures=sender.lost,
        complete=complete,
    )


def _replay(
    settings: Settings,
    schedule: Schedule,
    tweets: Tweets,
    sender: Sender,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] | None,
) -> int:
    """Send the events as they fall due; return how many were."""
    knobs = settings.generator
    pace = Pace(schedule.event_time_s, knobs.acceleration, knobs.max_events_per_s)
    started_s, sent, total = time.monotonic(), 0, len(schedule)
    while sent < total and not stop.is_set():
        elapsed_s = time.monotonic() - started_s
        due = min(pace.due(sent, elapsed_s), sent + BATCH)
        if due == sent:
            stop.wait(pace.wait_s(sent, elapsed_s))
        else:
            queued = sender.send(tweets.records(sent, due))
            pace.spend(queued)
            sent += queued
        if on_progress:
            event_time_s = float(schedule.event_time_s[max(sent - 1, 0)])
            on_progress(Progress(sent, total, event_time_s, elapsed_s))
    return sent


def load_cascades(settings: Settings, files: Sequence[Path]) -> Cascades:
    """Read the cascades of the files, or simulate where there are none; raises ``SourceError``."""
    if files:
        return read_cascades(files, settings.cascades.max_id_bytes)
    return simulated(settings.generator)


def _shown(opened: ExitStack, console: Console) -> Callable[[Progress], None]:
    """Return what shows progress: a bar on a terminal, else a log line every ten seconds."""
    if console.is_terminal:
        columns = (
            TextColumn("events"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[clock]}"),
        )
        bar = opened.enter_context(Bar(*columns, console=console))
        task = bar.add_task("events", total=None, clock="")

        def show(progress: Progress) -> None:
            clock = f"simulated {progress.event_time_s / 3600:.1f} h"
            bar.update(task, completed=progress.events, total=progress.total, clock=clock)

        return show
    next_s = LINE_S

    def line(progress: Progress) -> None:
        nonlocal next_s
        if progress.elapsed_s >= next_s:
            next_s = progress.elapsed_s + LINE_S
            done = {"events": progress.events, "total": progress.total}
            log.info("sending", extra={**done, "event_time_s": progress.event_time_s})

    return line


def _parser() -> argparse.ArgumentParser:
    # Help is left to the settings' own parser, which lists every knob.
    parser = argparse.ArgumentParser(prog="tweetoscope generate", add_help=False, allow_abbrev=False)
    parser.add_argument("--data", nargs="+", type=Path, default=[], metavar="FILE")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Send simulated cascades, or those of ``--data FILE…``; 1 when a record was lost, 2 for a bad file."""
    flags, rest = _parser().parse_known_args(list(argv or []))
    if {"-h", "--help"} & set(rest):
        sys.stdout.write(
            "--data FILE [FILE]  replay an events CSV, a News pair or a SEISMIC pair (.csv or .csv.gz; "
            "a pair's other file is found beside the named one); without it, cascades are simulated\n\n"
        )
    settings = load_settings(rest, "tweetoscope generate")
    try:
        cascades = load_cascades(settings, flags.data)
    except SourceError as refused:
        sys.stderr.write(f"tweetoscope: {refused}\n")
        return EXIT_SETTINGS
    stop = stop_on_signals()
    with ExitStack() as opened:
        connection = opened.enter_context(service(settings, SERVICE))
        report = generate(connection, cascades, stop, _shown(opened, Console(stderr=True)))
    log.info("sent", extra=vars(report))
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
