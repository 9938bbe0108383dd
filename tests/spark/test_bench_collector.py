"""The collector's benchmark: its data is what it says, and its Scala peer sends what ours sends."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.collect import data, outputs, report
from benchmarks.collect.cascades import partitions_of
from benchmarks.collect.options import parse
from benchmarks.collect.workers import SparkWorker
from benchmarks.collector import Bench
from tests.conftest import home_with_jars
from tests.oracle import replay
from udfs.cascades.rules import Rules


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return home_with_jars(tmp_path_factory.mktemp("bench") / "home")


@pytest.fixture(scope="module")
def folder(home):
    return data.ensure(home / "data", "tiny")


@pytest.fixture(scope="module")
def sent(home, folder):
    """What ours and the peer sent, read from the same files."""
    found = {}
    for system in ("ours", "scala"):
        worker, out = SparkWorker(system, home, "", "1g"), home / f"sent-{system}"
        try:
            assert worker.answer() == {"ready": system}
            done = worker.ask("compare", dataset="tiny", out=str(out))
        finally:
            worker.stop()
        assert done == {"events": data.meta_of(folder)["events"] + 2 * data.KAFKA_PARTITIONS, "dropped": 0}
        found[system] = outputs.outcome(outputs.values_of_parquet(out))
    return found


def log_of(folder, partition):
    """The events of one partition, as the oracle takes them."""
    events = []
    for table in data.records(folder, "warm", "1000", "flush"):
        for key, value, place, offset in zip(
            *(table[n].to_pylist() for n in table.column_names), strict=True
        ):
            if place == partition:
                event = json.loads(value)
                assert event["info"] == f"cascade={key.decode()}"
                events.append((offset, key.decode(), event["type"], event["t"], event["m"], event["msg"]))
    return events


def test_scala_peer_sends_exactly_what_ours_sends(sent):
    verdict = outputs.compare(sent["ours"], sent["scala"])
    assert verdict["identical"], verdict
    assert verdict["partials"] == verdict["sizes"] > 100


def test_both_send_what_the_oracle_reads_in_the_events(sent, folder):
    partials, sizes, letters = Counter(), Counter(), Counter()
    for partition in range(data.KAFKA_PARTITIONS):
        expected = replay(log_of(folder, partition), Rules())
        assert expected.waiting <= 1
        for (cid, window_s, root_s), partial in expected.partials.items():
            value = {"type": "serie", "cid": cid, "T_obs": window_s, "t_root": root_s, **partial}
            partials.update(outputs.outcome([value])["serie"])
        for (cid, window_s, root_s), (size, last_s) in expected.sizes.items():
            value = {"type": "size", "cid": cid, "T_obs": window_s, "t_root": root_s}
            sizes.update(outputs.outcome([value | {"n_tot": size, "t_end": last_s}])["size"])
        letters.update(reason for reason, _ in expected.letters)
    assert sent["scala"] == {"serie": partials, "size": sizes, "letter": letters}


def test_each_partition_has_its_events_in_order_with_offsets_that_follow_each_other(folder):
    for partition in range(data.KAFKA_PARTITIONS):
        log = log_of(folder, partition)
        assert [event[0] for event in log] == list(range(len(log)))
        assert all(before[3] <= after[3] for before, after in pairwise(log))
        ids = np.array([int(event[1]) for event in log])
        assert (partitions_of(ids) == partition).all()


def test_ids_lie_where_kafkas_partitioner_puts_them():
    # By an implementation in plain Python, tests/kafka/test_generate.py, which is held to Kafka's own values.
    from tests.kafka.test_generate import murmur2

    ids = np.arange(1_698_693_120_000_000_000, 1_698_693_120_000_000_200)
    assert partitions_of(ids).tolist() == [(murmur2(str(i).encode()) & 0x7FFFFFFF) % 4 for i in ids]


def test_outputs_that_differ_in_one_number_are_told_apart():
    size = {"type": "size", "cid": "a", "T_obs": 600, "n_tot": 10, "t_end": 5.0}
    ours, same, other = (
        outputs.outcome([size | {"n_tot": n_tot, "t_end": t_end}])
        for n_tot, t_end in ((10, 5.0), (10.0, 5.0 + 1e-9), (11, 5.0))
    )
    assert outputs.compare(ours, same)["identical"]
    assert not outputs.compare(ours, other)["identical"]


def test_a_partial_run_keeps_what_others_measured(tmp_path):
    path = tmp_path / "results.json"
    case = {"cases": {"a": {"ours": {"rounds": 5}, "scala": {"rounds": 5}}}, "ratio_to_scala_a": 3.0}
    report.merge(path, case)
    merged = report.merge(path, {"cases": {"a": {"ours": {"rounds": 2}}, "b": {}}, "ratio_to_flink": 9.0})
    assert merged == json.loads(path.read_text("utf-8"))
    assert merged["cases"] == {"a": {"ours": {"rounds": 2}, "scala": {"rounds": 5}}, "b": {}}
    assert (merged["ratio_to_scala_a"], merged["ratio_to_flink"]) == (3.0, 9.0)


class Answering:
    """A worker without Spark: ours does 300 events/s, the peer 100; with more cascades open, both half."""

    def __init__(self, system):
        self.rate = 300 if system == "ours" else 100

    def ask(self, _action, *, dataset, batch, count, **_paced):
        rate = self.rate / (2 if dataset == "live_1200k" else 1)
        written = {"checkpoint_bytes_per_event": 40.0, "snapshot_bytes_per_event": 2.5, "dropped": 0}
        batch_ms = [1000 * batch / rate] * count
        return {"events": batch * count, "events_per_s": rate, "batch_ms": batch_ms, "peak_mb": {}} | written


def test_figures_have_the_names_that_readers_look_for(tmp_path):
    bench = object.__new__(Bench)
    bench.options = parse(["--rounds", "2", "--results", str(tmp_path / "results.json")], "")
    bench.workers = {system: Answering(system) for system in ("ours", "scala", "read")}
    bench.others, bench.new = [], {}
    bench.measure("files", 20_000)
    bench.measure("kafka", 400_000)
    bench.steady()
    found = bench.keep()
    assert found["ratio_to_scala_1200k_live_400k_batch_kafka"] == 3.0
    assert found["spread"]["ratio_to_scala_93k_live_20k_batch"] == [3.0, 3.0]
    assert found["share_of_noop_read_93k_live_400k_batch_kafka"] == 3.0
    assert found["batch_ratio_1200k_to_93k_live_20k_batch"] == pytest.approx(2.0, rel=1e-4)
    assert found["checkpoint_bytes_per_event_1200k_live_20k_batch"] == 42.5
    assert found["cases"]["93k_live_20k_batch"]["ours"]["rounds"] == 2
    assert "read" not in found["cases"]["93k_live_20k_batch"]
    assert "| 93k_live_20k_batch | Tweetoscope | 300 (300 to 300) |" in report.table(found)
    assert (tmp_path / "results.svg").read_text("utf-8").startswith("<svg")
