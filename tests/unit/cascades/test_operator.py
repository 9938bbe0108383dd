"""The collector's Spark adapter, without Spark: when it reads and writes what of its state; its counts."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from jobs.runtime.knobs import MAX_WINDOWS
from tests.oracle import replay
from tests.unit.cascades import stores
from tests.unit.cascades.logs import collect, packed, records
from tests.unit.cascades.stores import Store
from udfs.cascades.journal import RulesChangedError
from udfs.cascades.operator import COUNTERS, GAUGES
from udfs.cascades.rules import Rules

SMALL = Rules(windows_s=(6.0, 12.0), terminated_s=18.0, min_cascade_size=3, allowed_delay_s=2.0)
FIRST = [
    ("a", "tweet", 0, "é"),
    ("a", "retweet", 1),
    ("b", "tweet", 1, ""),
    ("a", "retweet", 2),
    ("b", "retweet", 3),
]
THEN = [("b", "retweet", 4), ("a", "retweet", 5), ("c", "retweet", 5), ("a", "tweet", 5), (None, "tick", 9)]


@pytest.fixture(autouse=True)
def shelf(monkeypatch, tmp_path):
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    return tmp_path / "buckets"


@pytest.fixture
def journal_reads(monkeypatch):
    """Note each time the collector asks the state store for a journal."""
    reads, get = [], stores._List.get

    def noted(self):
        reads.append(self._name)
        return get(self)

    monkeypatch.setattr(stores._List, "get", noted)
    return reads


def rows_of(*events, offset=0):
    log = [
        (offset + i, cid, kind, float(t), 1.0, text[0] if text else None)
        for i, (cid, kind, t, *text) in enumerate(events)
    ]
    return packed(records(log), SMALL, 1)[0]


def test_a_bucket_on_the_shelf_is_not_made_again(journal_reads, shelf):
    store = Store()
    store.micro_batch(SMALL, rows_of(*FIRST))
    journal_reads.clear()
    for i in range(5):
        store.micro_batch(SMALL, rows_of(("a", "retweet", 3 + i), offset=10 + i))
    assert journal_reads == []
    for path in shelf.iterdir():
        path.unlink()
    store.micro_batch(SMALL, rows_of(("a", "retweet", 9), offset=20))
    assert journal_reads == ["journal"]


def test_a_micro_batch_that_is_done_again_does_the_same(journal_reads):
    store = Store()
    store.micro_batch(SMALL, rows_of(*FIRST))
    rows = rows_of(*THEN, offset=5)
    sent = [store.micro_batch(SMALL, rows, commit=False) for _ in range(3)]
    sent.append(store.micro_batch(SMALL, rows))
    assert sent[0] == sent[1] == sent[2] == sent[3]
    assert {row["topic"] for row in sent[0]} == {"cascade_series", "dead_letters", None}


def test_a_state_of_earlier_is_gone_on_from(journal_reads):
    """As when a checkpoint is put back from a copy: what lies on the shelf is of another time."""
    store = Store()
    store.micro_batch(SMALL, rows_of(*FIRST))
    earlier = copy.deepcopy(store.committed)
    sent = store.micro_batch(SMALL, rows_of(*THEN, offset=5))
    store.micro_batch(SMALL, rows_of((None, "tick", 99), offset=10))
    store.committed = earlier
    journal_reads.clear()
    assert store.micro_batch(SMALL, rows_of(*THEN, offset=5)) == sent
    assert journal_reads == ["journal"]


@pytest.mark.parametrize("lost", [False, True])
def test_other_windows_are_refused_wherever_the_bucket_lies(shelf, lost):
    store = Store()
    store.micro_batch(SMALL, rows_of(*FIRST))
    if lost:
        for path in shelf.iterdir():
            path.unlink()
    before, other = copy.deepcopy(store.committed), dataclasses.replace(SMALL, windows_s=(6.0, 13.0))
    for _ in range(2):
        with pytest.raises(RulesChangedError, match=r"cascades\.windows_s"):
            store.micro_batch(other, rows_of(*THEN, offset=5))
    assert store.committed == before
    assert store.micro_batch(SMALL, rows_of(*THEN, offset=5))[-1]["counted"] > 0


@pytest.mark.parametrize("lost", [False, True])
def test_another_least_size_holds_for_windows_that_close_from_now_on(shelf, lost):
    store, larger = Store(), dataclasses.replace(SMALL, min_cascade_size=4)
    store.micro_batch(SMALL, rows_of(*FIRST))
    if lost:
        for path in shelf.iterdir():
            path.unlink()
    sent = store.micro_batch(larger, rows_of(*THEN, offset=5))
    assert [row["key"] for row in sent if row["topic"] == "cascade_series"] == [b"a"]
    assert len(store.committed["journal"]) == 1, "the cascades, carried over"


def test_the_state_is_a_head_and_a_list_of_entries():
    store = Store()
    store.micro_batch(SMALL, rows_of(*FIRST))
    store.micro_batch(SMALL, rows_of(*THEN, offset=5))
    assert set(store.committed) == {"head", "journal"}
    assert [[type(part) for part in entry] for entry in store.committed["journal"]] == [[bytes]] * 2


def test_what_happened_is_counted():
    store = Store()
    first, then = (
        store.micro_batch(SMALL, rows_of(*FIRST))[-1],
        store.micro_batch(SMALL, rows_of(*THEN, offset=5))[-1],
    )
    last = store.micro_batch(SMALL, rows_of((None, "tick", 99), ("x", "like", 1), offset=10))
    rows = [{name: row[name] for name in COUNTERS if row[name]} for row in (first, then, last[-1])]
    assert rows == [
        {"counted": 1, "opened": 1, "waiting": 4},
        {"counted": 6, "opened": 1, "waiting": -4, "ticks": 1, "orphans": 1, "repeated_roots": 1},
        {"ended": 2, "ticks": 1, "malformed": 1},
    ]
    assert [row["open"] for row in (first, then, last[-1])] == [1, 2, 0]
    assert all(row[name] > 0 for row in (first, then, last[-1]) for name in GAUGES if name != "open")
    assert then["state_bytes"] > first["state_bytes"]
    assert then["state_bytes"] >= sum(len(entry) for (entry,) in store.committed["journal"][:2])


def test_as_many_windows_as_the_settings_allow_are_told_apart():
    rules = dataclasses.replace(SMALL, windows_s=tuple(2.0 * i for i in range(1, MAX_WINDOWS + 1)),
                                terminated_s=2.0 * MAX_WINDOWS)  # fmt: skip
    log = [(i, "a", "retweet" if i else "tweet", i / 2, 1.0, "t") for i in range(8)]
    log += [(8, None, "tick", 200.0, 0.0, None)]
    found, expected = collect([records(log[:4]), records(log[4:])], rules, 1, 7), replay(log, rules)
    assert (found.partials, found.sizes) == (expected.partials, expected.sizes)
    assert len(found.sizes) == MAX_WINDOWS
