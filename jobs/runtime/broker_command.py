"""`tweetoscope broker start|stop|status`: the embedded broker, kept running between commands."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.runtime.broker import EmbeddedBroker
from jobs.runtime.settings import load_settings

#: What ``status`` returns when no broker runs.
EXIT_NOT_RUNNING = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Start, stop or show the embedded Kafka broker of this home folder.

    Returns
    -------
    int
        0; for ``status`` 1 when it does not run.

    """
    parser = argparse.ArgumentParser(
        "tweetoscope broker",
        description="Start, stop or show the embedded Kafka broker.",
        epilog="Every setting is a flag as well. status ends with 0 when the broker runs, 1 when not.",
    )
    parser.add_argument("action", choices=("start", "stop", "status"))
    parser.add_argument("--json", action="store_true", help="print JSON")
    options, flags = parser.parse_known_args(argv)
    broker = EmbeddedBroker(load_settings(flags, parser.prog))
    if options.action == "start":
        broker.start(guarded=False)
    elif options.action == "stop":
        broker.stop()
    status = broker.status()
    sys.stdout.write((json.dumps(status) if options.json else _line(status)) + "\n")
    return EXIT_NOT_RUNNING if options.action == "status" and not status["running"] else 0


def _line(status: Mapping[str, Any]) -> str:
    disk = f"{status['disk_bytes'] / 1e6:.0f} MB in {status['folder']}"
    if not status["running"]:
        return f"no broker runs; {disk}"
    end = "; ends with the command that started it" if status["stops_with_its_parent"] else ""
    return f"a broker runs at {status['address']} (process {status['pid']}{end}); {disk}"
