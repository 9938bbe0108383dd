"""The flags of the collector's benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.collect import data
from benchmarks.collect.workers import PROJECT

HOME = PROJECT / ".tweetoscope" / "bench"
RESULTS = PROJECT / "benchmarks" / "results" / "collector.json"
SPARK_PEERS = ("scala", "scala_from_json", "read")
#: Peers that are no Spark query: how many events of the topic they read, and how many of those warm them up.
#: A run takes about half a minute. Fewer cascades are open than in ours.
OTHER_PEERS = {"flink": (600_000, 200_000), "quix": (120_000, 40_000), "consumer": (600_000, 200_000)}
#: Most micro-batches counted in a round.
COUNTED = {400_000: 3, 100_000: 7, 20_000: 10}


def parse(argv: Sequence[str] | None, description: str) -> argparse.Namespace:
    """Read the flags."""

    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    def numbers(text: str) -> list[int]:
        return [int(name) for name in names(text)]

    parser = argparse.ArgumentParser(
        prog="make bench-collector",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    peers = [*SPARK_PEERS, *OTHER_PEERS]
    usual = [name for name in peers if name != "scala_from_json"]
    parser.add_argument("--only", type=names, default=usual, help=f"peers, of {','.join(peers)}")
    parser.add_argument("--datasets", type=names, default=["live_93k", "live_1200k"], help="data sets")
    parser.add_argument("--sources", type=names, default=["files", "kafka"], help="files,kafka")
    parser.add_argument("--batches", type=numbers, default=list(COUNTED), help="events of a micro-batch")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--heap", default="4g", help="heap of each Spark's JVM")
    parser.add_argument(
        "--no-steady", dest="steady", action="store_false", help="leave out the minute-long runs"
    )
    parser.add_argument("--home", type=Path, default=HOME, help="where data and checkpoints lie")
    parser.add_argument("--results", type=Path, help="file that the figures are merged into")
    parser.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    options = parser.parse_args(argv)
    for chosen, known in ((options.only, peers), (options.datasets, list(data.DATASETS))):
        if unknown := set(chosen) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: choose of {', '.join(known)}")
    if unknown := set(options.sources) - {"files", "kafka"}:
        parser.error(f"{', '.join(sorted(unknown))}: choose of files, kafka")
    options.home = options.home.absolute()
    trial = not all(name.startswith("live_") for name in options.datasets)
    options.results = options.results or (options.home / "trial.json" if trial else RESULTS)
    return options
