"""A bucket made again from its journal is the bucket."""

from __future__ import annotations

import dataclasses
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.cascades import journal
from udfs.cascades.bucket import EVENTS, STATE_VERSION, Bucket, StateVersionError, to_ipc
from udfs.cascades.journal import Head, RulesChangedError, decisive, rebuilt, written
from udfs.cascades.rules import Rules
from udfs.cascades.step import step
from udfs.cascades.table import in_memory

SMALL = Rules(windows_s=(6.0, 12.0), terminated_s=18.0, min_cascade_size=3, allowed_delay_s=2.0)
N_WINDOWS = len(SMALL.windows_s)


class Kept:
    """A bucket that lives, and beside it what the state store holds."""

    def __init__(self, rules=SMALL):
        self.rules, self.head, self.entries = rules, Head.new(rules, 1), []
        self.bucket = Bucket.empty()

    def micro_batch(self, blobs, latest_s):
        events = [pa.ipc.open_stream(blob).read_next_batch() for blob in blobs if blob]
        joined = pa.concat_batches(events) if events else told([])
        outcome = step(self.bucket, joined, latest_s, self.rules)
        self.head, entry = written(self.bucket, self.head, blobs, latest_s, self.rules)
        self.entries = [*self.entries, entry] if self.head.log_bytes else [entry]
        return outcome

    def again(self, rules=None, allocate=in_memory):
        self.head.check(rules or self.rules, 1)
        return rebuilt(iter(self.entries), self.head, allocate)


def told(rows):
    names = ("offset", "before_s", "event_s", "mark", "kind", "cid", "text")
    return pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=EVENTS)


def random_micro_batches(seed, count, size=12, n_ids=5):
    """Micro-batches (packed events, latest time) of a bucket, with ties, late events and ids that return."""
    rng, latest_s, offset = np.random.default_rng(seed), 0.0, 0
    for _ in range(count):
        blobs, before_s = [], None
        for _ in range(rng.integers(0, 3)):
            rows = []
            for _ in range(rng.integers(0, size)):
                latest_s += float(np.round(rng.exponential(0.3), 1))
                event_s = max(0.0, latest_s - float(np.round(rng.choice([0, 1, 8], p=[0.6, 0.3, 0.1]), 1)))
                before_s = latest_s if event_s < latest_s - SMALL.allowed_delay_s else None
                kind, cid = int(rng.random() < 0.8), f"é{rng.integers(n_ids)}".encode()
                text = str(rng.choice(["", "some text\n", "😀" * 9])) if rng.random() < 0.5 else None
                rows.append((offset, before_s, event_s, float(rng.integers(4)), kind, cid, text))
                offset += 1
            blobs.append(to_ipc(told(rows)))
        yield blobs, latest_s


@pytest.fixture
def small_journals(monkeypatch):
    monkeypatch.setattr(journal, "LEAST_LOG_BYTES", 3000)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([1, 2000, 5000, 1 << 20]))
def test_a_bucket_made_from_any_prefix_of_its_journal_is_the_one_that_lives(seed, count, least_log_bytes):
    with mock.patch.object(journal, "LEAST_LOG_BYTES", least_log_bytes):
        kept = Kept()
        for blobs, latest_s in random_micro_batches(seed, count):
            kept.micro_batch(blobs, latest_s)
            again = kept.again()
            assert again.to_bytes(N_WINDOWS) == kept.bucket.to_bytes(N_WINDOWS)
            assert again.latest_s == kept.bucket.latest_s == latest_s
            assert again.pending.equals(kept.bucket.pending)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.booleans(), min_size=8, max_size=8))
def test_a_bucket_made_again_goes_on_as_the_one_that_lives(seed, restarts):
    with mock.patch.object(journal, "LEAST_LOG_BYTES", 3000):
        lives, restarted = Kept(), Kept()
        for (blobs, latest_s), restart in zip(random_micro_batches(seed, 8), restarts, strict=True):
            if restart:
                restarted.bucket = restarted.again()
            outcomes = [kept.micro_batch(blobs, latest_s) for kept in (lives, restarted)]
            assert sent(outcomes[0]) == sent(outcomes[1])
            assert lives.entries == restarted.entries


def sent(outcome):
    windows, sizes = outcome.windows, outcome.sizes
    return [
        *(
            windows.cid.to_pylist(),
            windows.text.to_pylist(),
            windows.window_s.tolist(),
            windows.root_s.tolist(),
        ),
        *(windows.history.offsets.tolist(), windows.history.times_s.tolist(), windows.history.marks.tolist()),
        *(sizes.cid.to_pylist(), sizes.window_s.tolist(), sizes.size.tolist(), sizes.last_s.tolist()),
        *(outcome.refused.to_pylist(), outcome.refused_as.tolist(), outcome.counted, outcome.counted_late),
    ]


def test_the_journal_holds_at_most_twice_what_lives(small_journals):
    kept, bases, logged, largest = Kept(), 0, 0, 0
    for blobs, latest_s in random_micro_batches(1, 400, size=60, n_ids=30):
        kept.micro_batch(blobs, latest_s)
        head, entries = kept.head, kept.entries
        based = head.base_bytes > 0
        assert head.base_bytes == (len(entries[0]) if based else 0)
        assert head.log_bytes >= sum(map(len, entries[based:]))
        assert head.log_bytes <= max(3000, head.base_bytes)
        if not head.log_bytes:
            bases += head.base_bytes
            largest = max(largest, head.base_bytes)
        else:
            logged += len(entries[-1])
    # It was written anew often, and that cost no more than the events themselves did, roughly.
    assert bases > 10 * largest > 0
    assert bases < 3 * logged


def test_micro_batches_without_events_do_not_grow_the_journal_for_ever(small_journals):
    kept = Kept()
    for i in range(500):
        kept.micro_batch([b""], float(i))
        assert len(kept.entries) < 60
        assert sum(map(len, kept.entries)) < 3500
    assert kept.again().latest_s == 499.0


def test_a_micro_batch_adds_what_it_brought_not_what_is_alive():
    kept = Kept(dataclasses.replace(SMALL, windows_s=(1e6,), terminated_s=1e6))
    many = told((i, None, 1.0, 1.0, 0, b"c%d" % i, f"text {i}") for i in range(20_000))
    kept.micro_batch([to_ipc(many)], 9.0)
    blob = to_ipc(told([(20_000, None, 9.0, 1.0, 1, b"c7", None)]))
    before = sum(map(len, kept.entries))
    kept.micro_batch([blob], 9.0)
    assert before > 100_000
    assert sum(map(len, kept.entries)) - before < len(blob) + 100


def test_each_micro_batch_has_a_stamp_of_its_own(small_journals):
    kept, stamps, names = Kept(), set(), set()
    for blobs, latest_s in random_micro_batches(3, 60):
        kept.micro_batch(blobs, latest_s)
        stamps.add(kept.head.stamp)
        names.add(kept.head.name)
    assert (len(stamps), len(names)) == (60, 1)
    assert {len(word) for word in stamps | names} == {16}


def filled(rules=SMALL, count=6):
    kept = Kept(rules)
    for blobs, latest_s in random_micro_batches(5, count):
        kept.micro_batch(blobs, latest_s)
    return kept


@pytest.mark.parametrize("windows_s", [(6.0,), (12.0, 6.0), (6.0, 12.0, 18.0), (6.0, 12.5)])
def test_other_windows_are_refused_with_what_to_do(windows_s):
    kept = filled()
    with pytest.raises(RulesChangedError) as refused:
        kept.again(dataclasses.replace(SMALL, windows_s=windows_s))
    for part in (
        "[6.0, 12.0]",
        str(list(windows_s)),
        "cascades.windows_s",
        "put it back",
        "empty checkpoint",
    ):
        assert part in str(refused.value)
    assert kept.again().to_bytes(N_WINDOWS) == kept.bucket.to_bytes(N_WINDOWS)


def test_another_number_of_buckets_is_refused_with_what_to_do():
    with pytest.raises(RulesChangedError, match=r"buckets_per_partition 1.* say 4: put it back.*empty"):
        filled().head.check(SMALL, 4)


OTHERS = {"min_cascade_size": 5, "terminated_s": 30.0, "allowed_delay_s": 4.0, "max_events_per_window": 3}


@pytest.mark.parametrize("change", OTHERS.items(), ids=OTHERS)
def test_other_rules_hold_from_the_next_micro_batch_on(change):
    then = filled()
    rules = dataclasses.replace(SMALL, **dict([change]))
    now = Kept(rules)
    now.head, now.entries = then.head, then.entries
    now.bucket = now.again()
    # What had happened under the rules of then stays.
    assert now.bucket.to_bytes(N_WINDOWS) == then.bucket.to_bytes(N_WINDOWS)
    [*_, (blobs, latest_s)] = random_micro_batches(5, 7)
    expected = step(then.bucket, pa.concat_batches(map(read, filter(None, blobs))), latest_s, rules)
    assert sent(now.micro_batch(blobs, latest_s)) == sent(expected)
    assert now.bucket.to_bytes(N_WINDOWS) == then.bucket.to_bytes(N_WINDOWS)
    # The journal begins anew, so that no event in it was taken under two rules.
    assert (len(now.entries), now.head.log_bytes, now.head.rules) == (1, 0, decisive(rules))
    assert now.again().to_bytes(N_WINDOWS) == now.bucket.to_bytes(N_WINDOWS)


def read(blob):
    return pa.ipc.open_stream(blob).read_next_batch()


@pytest.mark.parametrize("change", [{"max_text_bytes": 1}, {"max_id_bytes": 1}, {"max_value_bytes": 1}])
def test_rules_that_act_before_the_bucket_leave_the_journal_as_it_is(change):
    kept = filled()
    rules = dataclasses.replace(SMALL, **change)
    assert decisive(rules) == kept.head.rules
    assert kept.again(rules).to_bytes(N_WINDOWS) == kept.bucket.to_bytes(N_WINDOWS)


@pytest.mark.parametrize("at", [0, 1, -1])
def test_an_entry_of_another_version_is_refused(at):
    kept = filled()
    assert len(kept.entries) > 2
    kept.entries[at] = bytes([STATE_VERSION + 1]) + kept.entries[at][1:]
    with pytest.raises(StateVersionError, match=f"version {STATE_VERSION + 1}.*empty checkpoint"):
        kept.again()


def test_a_journal_that_has_lost_its_cascades_is_refused(small_journals):
    kept = filled(count=30)
    while len(kept.entries) < 2 or not kept.head.base_bytes:
        kept.micro_batch([b""], kept.bucket.latest_s)
    kept.entries = kept.entries[1:]
    with pytest.raises(StateVersionError, match="begins with events"):
        kept.again()
    kept.entries = []
    with pytest.raises(StateVersionError, match=r"lost its journal.*empty checkpoint"):
        kept.again()


def test_the_journal_of_nothing_is_an_empty_bucket():
    again = rebuilt(iter([]), Head.new(SMALL, 1), in_memory)
    assert again.to_bytes(N_WINDOWS) == Bucket.empty().to_bytes(N_WINDOWS)
