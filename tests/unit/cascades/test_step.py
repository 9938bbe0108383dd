"""The collector's rules, against an independent reading of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import replay
from tests.unit.cascades.logs import collect, records
from udfs.cascades.bucket import EVENTS, Bucket, from_ipc, one_batch
from udfs.cascades.rules import Rules
from udfs.cascades.step import step
from udfs.cascades.tweets import Packer

SMALL = Rules(windows_s=(6.0, 12.0), terminated_s=18.0, min_cascade_size=3, allowed_delay_s=2.0)


def log_of(*events):
    """Number events (cid, kind, t[, m[, text]]) by offset."""
    return [
        (offset, cid, kind, float(t), float(rest[0]) if rest else 1.0, rest[1] if len(rest) > 1 else None)
        for offset, (cid, kind, t, *rest) in enumerate(events)
    ]


def random_log(seed, n=300, n_ids=12, disorder_s=2.0, ends_with_tick=True):
    """A log with ties, gaps, orphans, repeated roots and, for a large disorder, late events."""
    rng = np.random.default_rng(seed)
    t = np.round(np.cumsum(rng.exponential(0.8, n)), 0 if seed % 2 else 1)
    arrival = np.argsort(t + rng.uniform(0, disorder_s, n), kind="stable")
    events = []
    for i in arrival:
        cid = f"c{rng.integers(n_ids)}"
        kind = rng.choice(["tweet", "retweet", "tick"], p=[0.15, 0.83, 0.02])
        events.append((cid, str(kind), t[i], rng.integers(5)))
    if ends_with_tick:
        events.append((None, "tick", t.max() + 100))
    return log_of(*events)


def cut(log, sizes):
    """Split a log into micro-batches of the given sizes, the last one taking the rest."""
    at = np.cumsum(sizes)
    return [records(log[a:b]) for a, b in zip([0, *at], [*at, len(log)], strict=True) if log[a:b]]


def comparable(outcome, *, letters=True):
    found = dataclasses.asdict(outcome)
    found["letters"] = sorted(outcome.letters) if letters else None
    return found


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("disorder_s", [0.0, 2.0, 15.0])
def test_collector_equals_the_oracle_on_random_logs(seed, disorder_s):
    log = random_log(seed, disorder_s=disorder_s)
    expected = replay(log, SMALL)
    assert expected.partials
    assert expected.sizes
    assert comparable(collect(cut(log, [40] * 6), SMALL, mishaps=seed)) == comparable(expected)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 90), max_size=8),
    n_buckets=st.integers(1, 4),
    disorder_s=st.sampled_from([0.0, 2.0, 30.0]),
    ends=st.booleans(),
    mishaps=st.none() | st.integers(0, 10_000),
)
def test_output_does_not_depend_on_batches_buckets_or_mishaps(
    seed, sizes, n_buckets, disorder_s, ends, mishaps
):
    log = random_log(seed, n=200, disorder_s=disorder_s, ends_with_tick=ends)
    found = collect(cut(log, sizes), SMALL, n_buckets, mishaps)
    assert comparable(found) == comparable(replay(log, SMALL))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.integers(0, 1_000))
def test_disorder_within_the_delay_changes_nothing(seed, order):
    log = [event for event in random_log(seed, n=150, disorder_s=0.0) if event[2] != "tick"]
    jitter = np.random.default_rng(order).uniform(0, SMALL.allowed_delay_s * 0.99, len(log))
    t = np.array([event[3] for event in log])
    shuffled = [log[i] for i in np.argsort(t + jitter, kind="stable")]
    end = (10_000, None, "tick", float(t.max()) + 100, 0.0, None)
    tidy, messy = collect(cut([*log, end], []), SMALL), collect(cut([*shuffled, end], [17, 50]), SMALL)
    assert comparable(messy) == comparable(tidy)


def test_event_exactly_at_the_window_is_not_in_it():
    log = log_of(
        ("a", "tweet", 0), ("a", "retweet", 1), ("a", "retweet", 5.9), ("a", "retweet", 6), (None, "tick", 99)
    )
    found = collect([records(log)], SMALL)
    assert [dt for dt, _ in found.partials["a", 6, 0]["tweets"]] == [0, 1, 5.9]
    assert found.partials["a", 12, 0]["n_obs"] == 4


def test_gap_of_exactly_the_termination_ends_the_cascade():
    log = log_of(
        ("a", "tweet", 0), ("a", "retweet", 1), ("a", "retweet", 2), ("a", "retweet", 20), (None, "tick", 99)
    )
    found = collect([records(log)], SMALL)
    assert found.sizes == {("a", 6, 0): (3, 2.0), ("a", 12, 0): (3, 2.0)}
    assert found.letters == [("orphan", 3)]


def test_gap_just_below_the_termination_does_not_end_it():
    log = log_of(
        ("a", "tweet", 0),
        ("a", "retweet", 1),
        ("a", "retweet", 2),
        ("a", "retweet", 19.9),
        (None, "tick", 99),
    )
    assert collect([records(log)], SMALL).sizes["a", 6, 0] == (4, 19.9)


def test_cascade_below_the_least_size_sends_nothing():
    log = log_of(("a", "tweet", 0), ("a", "retweet", 1), ("a", "retweet", 7), (None, "tick", 99))
    found = collect([records(log)], SMALL)
    assert list(found.partials) == [("a", 12, 0)]
    assert list(found.sizes) == [("a", 12, 0)]


def test_late_retweet_counts_in_the_size_of_an_open_cascade_only():
    log = log_of(
        ("a", "tweet", 0), ("a", "retweet", 1), ("a", "retweet", 2), (None, "tick", 10),
        ("a", "retweet", 3),  # late for the first window, open for the second
        (None, "tick", 60), ("a", "retweet", 4),  # the cascade is over
    )  # fmt: skip
    found = collect([records(log)], SMALL)
    assert found.partials["a", 6, 0]["n_obs"] == 3
    assert found.partials["a", 12, 0]["n_obs"] == 4
    assert found.sizes["a", 6, 0] == (4, 3.0)
    assert (found.counted_late, found.letters) == (1, [("late", 6)])


def test_late_retweet_does_not_reopen_a_cascade():
    log = log_of(
        ("a", "tweet", 0), (None, "tick", 60), ("a", "retweet", 1), ("a", "tweet", 0), (None, "tick", 99)
    )
    found = collect([records(log[:2]), records(log[2:])], SMALL)
    assert found.open == 0
    assert sorted(found.letters) == [("late", 2), ("late", 3)]


def test_retweet_before_its_root_within_the_delay_belongs_to_the_cascade():
    log = log_of(("a", "retweet", 1.5), ("a", "tweet", 0.5), ("a", "retweet", 2), (None, "tick", 99))
    found = collect([records(log[:1]), records(log[1:])], SMALL)
    assert [dt for dt, _ in found.partials["a", 6, 0.5]["tweets"]] == [0, 1, 1.5]


def test_history_is_bounded_and_says_so():
    rules = dataclasses.replace(SMALL, max_events_per_window=4)
    log = log_of(("a", "tweet", 0), *(("a", "retweet", 1 + i / 10) for i in range(9)), (None, "tick", 99))
    found = collect(cut(log, [3, 3]), rules)
    assert found.partials["a", 6, 0]["truncated"]
    assert found.partials["a", 6, 0]["n_obs"] == 10
    assert len(found.partials["a", 6, 0]["tweets"]) == 4
    assert found.sizes["a", 6, 0][0] == 10


def test_history_leaves_the_state_when_the_last_window_closes():
    log = log_of(("a", "tweet", 0, 1, "text"), ("a", "retweet", 1), (None, "tick", 16), (None, "tick", 16.5))
    packer = Packer(SMALL, 1, "tweets")
    rows = [row for part in packer.pack(records(log)) for row in part.to_pylist()]
    events = one_batch(EVENTS, [from_ipc(row["events"], EVENTS) for row in rows])
    bucket = Bucket.empty()
    step(bucket, events, 16.5, SMALL)
    cascades = bucket.cascades(len(SMALL.windows_s))
    assert cascades.num_rows == 1
    assert cascades["text"].to_pylist() == [None]
    assert cascades["history_s"].to_pylist() == [[]]


def test_an_id_may_return_after_its_cascade_has_ended():
    first = [("a", "tweet", 0), ("a", "retweet", 1), ("a", "retweet", 2)]
    again = [("a", "tweet", 50), ("a", "retweet", 51), ("a", "retweet", 52), ("a", "retweet", 53)]
    log = log_of(*first, *again, (None, "tick", 199))
    found = collect(cut(log, [2, 3]), SMALL)
    assert found.sizes["a", 6, 0] == (3, 2.0)
    assert found.sizes["a", 6, 50] == (4, 53.0)


def test_a_micro_batch_of_ticks_alone_moves_the_clock():
    log = log_of(("a", "tweet", 0), ("a", "retweet", 1), ("a", "retweet", 2), (None, "tick", 99))
    found = collect([records(log[:3]), records(log[3:])], SMALL)
    assert found.sizes["a", 6, 0] == (3, 2.0)
