"""The collector beside the same rules in Scala, PyFlink, Quix Streams and plain Python.

``make bench-collector`` compares the outputs of all systems, measures them in alternating rounds, writes
``benchmarks/results/collector.json`` and ``collector.svg``, and prints a table. All of it takes about two
hours on two idle cores; a part of it, by the flags below, replaces only its own figures in the results.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.collect import data, outputs, report, topic
from benchmarks.collect.measure import machine, ratios, spread, versions
from benchmarks.collect.options import COUNTED, OTHER_PEERS, SPARK_PEERS, parse
from benchmarks.collect.workers import PROJECT, PeerError, SparkWorker, run_peer
from jobs.runtime.broker import connected
from jobs.runtime.errors import InfrastructureError
from jobs.runtime.jars import KINDS, ensure_jars
from jobs.runtime.settings import Settings

#: Rounds that are not counted: until then Java still compiles what it runs (a round of ours: 225k, 267k, 290k
#: events/s, then 330k and more).
WARM_ROUNDS = 3
#: The state's snapshots go to the checkpoint once a minute: so long are small micro-batches watched, one a
#: second.
STEADY_BATCH, STEADY_COUNT, STEADY_S = 20_000, 59, 80.0
COMPARED = "compare"


class Bench:
    """One run of the benchmark."""

    def __init__(self, options: argparse.Namespace, settings: Settings, stack: ExitStack) -> None:
        self.options, self.settings, self.stack = options, settings, stack
        self.home: Path = options.home
        self.new: dict[str, Any] = {"machine": machine(), "versions": versions(), "heap": options.heap}
        self.workers: dict[str, SparkWorker] = {}
        self.others = [name for name in OTHER_PEERS if name in options.only]
        self.folders = {name: data.ensure(self.home / "data", name) for name in (*options.datasets, COMPARED)}
        self.new["data"] = {name: data.meta_of(self.folders[name]) for name in options.datasets}

    def run(self) -> dict[str, Any]:
        """Compare, then measure every case; figures are kept as each case is done."""
        systems = ["ours", *(name for name in SPARK_PEERS if name in self.options.only)]
        for system in systems:
            bootstrap = self.settings.kafka.bootstrap_servers
            self.workers[system] = worker = SparkWorker(system, self.home, bootstrap, self.options.heap)
            self.stack.callback(worker.stop)
        for worker in self.workers.values():
            say(f"{worker.answer()['ready']} is ready")
        self.compare()
        results = self.keep()
        for source in self.options.sources:
            self.prepare(source)
            for batch in self.options.batches:
                if source == "kafka" and batch == STEADY_BATCH:
                    continue
                self.measure(source, batch)
                results = self.keep()
            if source == "files" and STEADY_BATCH in self.options.batches and self.options.steady:
                self.steady()
                results = self.keep()
        return results

    def compare(self) -> None:
        """Run a small data set through every system; a Spark peer that differs ends the bench."""
        found: dict[str, Any] = self.new.setdefault("outputs", {})
        sent = {}
        for system, worker in self.workers.items():
            if system == "read":
                continue
            out = self.home / "run" / system / "sent"
            outputs.remove(out)
            done = worker.ask("compare", dataset=COMPARED, out=str(out))
            sent[system] = outputs.outcome(outputs.values_of_parquet(out))
            if system != "ours":
                verdict = outputs.compare(sent["ours"], sent[system]) | {"dropped": done["dropped"]}
                found[system] = verdict
                say(f"outputs of {system}: {json.dumps(verdict)}")
                if not verdict["identical"] or done["dropped"]:
                    raise PeerError(f"{system} does not send what ours sends: see above")
        if self.others:
            topic.make_anew(self.settings, COMPARED)
            batch = data.DATASETS[COMPARED].batches[-1][0]
            count = topic.send(self.settings, COMPARED, self.folders[COMPARED], ("warm", str(batch), "flush"))
        for system in list(self.others):
            out = self.home / "run" / f"{system}.jsonl"
            out.parent.mkdir(parents=True, exist_ok=True)
            out.unlink(missing_ok=True)
            try:
                self.peer(system, COMPARED, count, count // 10, out)
                theirs = outputs.outcome(outputs.values_of_lines(out))
                found[system] = outputs.compare(sent["ours"], theirs, letters=False)
            except (PeerError, OSError, ValueError) as error:
                found[system] = {"missing": str(error)}
            say(f"outputs of {system}: {json.dumps(found[system])}")
            if not found[system].get("identical"):
                self.others.remove(system)

    def prepare(self, source: str) -> None:
        """Run the warm part of every data set into a checkpoint of every system."""
        for dataset in self.options.datasets:
            if source == "kafka":
                topic.make_anew(self.settings, dataset)
                topic.send(self.settings, dataset, self.folders[dataset], ["warm"])
            for system, worker in self.workers.items():
                if system == "read" and source == "files":
                    continue
                done = worker.ask("warm", dataset=dataset, source=source)
                say(f"{dataset} {source}: {system} took {done['events']:,} events in {done['seconds']:.0f} s")
            if source == "kafka":
                count = topic.send(self.settings, dataset, self.folders[dataset], ["measured"])
                say(f"{dataset}: {count:,} events sent to Kafka")

    def measure(self, source: str, batch: int) -> None:
        """Alternate the systems for one source and size of micro-batch; the first rounds do not count."""
        rounds: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        datasets = [name for name in self.options.datasets if batch in dict(data.DATASETS[name].batches)]
        for number in range(1 - WARM_ROUNDS, self.options.rounds + 1):
            for dataset in datasets:
                case = report.case_name(dataset, batch, source)
                for system, figures in self.one_round(dataset, source, batch, counts=number > 0):
                    rate = f"{system} {figures['events_per_s']:,.0f} events/s"
                    say(f"{case} round {number if number > 0 else 'to warm up'}: {rate}")
                    if figures.get("dropped"):
                        say(f"{case}: {system} lost {figures['dropped']:,} rows behind its watermark")
                    if number > 0:
                        rounds[case][system].append(figures)
        for case, systems in rounds.items():
            cases = self.new.setdefault("cases", {}).setdefault(case, {})
            cases.update({system: report.summary(done) for system, done in systems.items()})
            self.note(report.case_ratios(case, systems))
        small, large = (report.case_name(name, batch, source) for name in ("live_93k", "live_1200k"))
        if small in rounds and large in rounds and batch == STEADY_BATCH:
            pairs = [
                [spread(r["batch_ms"])["median"] for r in rounds[case]["ours"]] for case in (large, small)
            ]
            self.note({f"batch_ratio_1200k_to_93k_live_{batch // 1000}k_batch": ratios(*pairs)})

    def one_round(
        self, dataset: str, source: str, batch: int, *, counts: bool
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what each system did in one round; in one to warm up, only those that stay."""
        count = COUNTED.get(batch, 3)
        for system, worker in self.workers.items():
            if system != "read" or source == "kafka":
                yield system, worker.ask("round", dataset=dataset, source=source, batch=batch, count=count)
        largest = max(size for size, _ in data.DATASETS[dataset].batches)
        if counts and source == "kafka" and dataset == self.options.datasets[0] and batch == largest:
            for system in self.others:
                events = int(data.meta_of(self.folders[dataset])["events"])  # type: ignore[call-overload]
                wanted, warm = OTHER_PEERS[system]
                try:
                    yield system, self.peer(system, dataset, min(wanted, events), min(warm, events // 3))
                except PeerError as error:
                    say(f"{system} failed: {error}")

    def steady(self) -> None:
        """Watch small micro-batches, one a second, until the state's snapshots have been written too."""
        for dataset in self.options.datasets:
            if STEADY_BATCH not in dict(data.DATASETS[dataset].batches):
                continue
            for system, worker in self.workers.items():
                if system == "read":
                    continue
                figures = worker.ask(
                    "round", dataset=dataset, source="files", batch=STEADY_BATCH, count=STEADY_COUNT,
                    every_s=1.0, at_least_s=STEADY_S,
                )  # fmt: skip
                case = report.case_name(dataset, STEADY_BATCH, "files")
                self.new.setdefault("steady", {}).setdefault(case, {})[system] = report.summary([figures])
                total = figures["checkpoint_bytes_per_event"] + figures["snapshot_bytes_per_event"]
                say(f"{case}, one a second: {system} writes {total:.0f} bytes per event, snapshots included")
                if system == "ours":
                    self.new[f"checkpoint_bytes_per_event_{case}"] = round(total, 1)

    def peer(
        self, system: str, dataset: str, events: int, warm: int, out: Path | None = None
    ) -> dict[str, Any]:
        """Run a peer that is no Spark query."""
        bootstrap = self.settings.kafka.bootstrap_servers
        return run_peer(system, self.home, bootstrap, topic.topic_of(dataset), events, warm, out)

    def note(self, found: dict[str, dict[str, float]]) -> None:
        """Keep ratios under their names, and their spread beside."""
        for name, values in found.items():
            self.new[name] = values["median"]
            self.new.setdefault("spread", {})[name] = [values["min"], values["max"]]

    def keep(self) -> dict[str, Any]:
        """Write what is known so far into the results."""
        merged = report.merge(self.options.results, self.new)
        self.options.results.with_suffix(".svg").write_text(report.svg(merged), "utf-8")
        return merged


@contextmanager
def broker(options: argparse.Namespace) -> Iterator[Settings]:
    """Yield settings, with a broker of the bench's own if Kafka is needed."""
    settings = Settings(home=options.home, broker={"heap_mb": 1024, "start_timeout_s": 300})  # type: ignore[arg-type]
    if "kafka" not in options.sources:
        yield settings
        return
    with connected(settings) as connection:
        yield connection


def prepare_home(home: Path) -> None:
    """Make the bench's folder, with the jars that the project has."""
    home.mkdir(parents=True, exist_ok=True)
    jars = PROJECT / ".tweetoscope" / "jars"
    for kind in KINDS:
        ensure_jars(jars.parent, kind)
    if not (home / "jars").exists():
        (home / "jars").symlink_to(jars, target_is_directory=True)


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv, __doc__ or "")
    prepare_home(options.home)
    try:
        with broker(options) as settings, ExitStack() as stack:
            results = Bench(options, settings, stack).run()
    except (PeerError, InfrastructureError) as error:
        say(str(error))
        return 1
    print(json.dumps(results, indent=1) if options.json else report.table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
