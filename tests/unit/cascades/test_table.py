"""Cascades in flat arrays: laid out, grown, left behind."""

from __future__ import annotations

import dataclasses
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import replay
from tests.unit.cascades.colliding import crowded
from tests.unit.cascades.logs import collect, records
from udfs.cascades.bucket import EVENTS, Bucket
from udfs.cascades.rules import Rules
from udfs.cascades.step import step
from udfs.cascades.table import (
    CASCADES,
    N_OPEN,
    N_SLOTS,
    VERSION,
    Capacity,
    in_memory,
    open_rows,
    opened,
    table_bytes,
    table_of,
)

SMALL = Rules(windows_s=(6.0, 12.0), terminated_s=18.0, min_cascade_size=3, allowed_delay_s=0.0)
NO_ROOM = Capacity(0, 0, 0, 0)
TIGHT = mock.patch("udfs.cascades.bucket._LEAST_ROOM", NO_ROOM)


def cascade(cid, text=None, history=(), closed=0, **numbers):
    """One row of CASCADES; ``history`` holds pairs of time and mark."""
    history_s, marks = [t for t, _ in history], [m for _, m in history]
    row = {"root_s": 1.0, "last_s": 2.0, "size": 3, "sent": 0, **numbers}
    return {"cid": cid, "text": text, "closed": closed, "history_s": history_s, "history_marks": marks, **row}


def laid_out(rows, room=NO_ROOM):
    return table_of(pa.RecordBatch.from_pylist(rows, schema=CASCADES), 7.0, room, in_memory)


def told(*events):
    """Events (cid, kind, t[, mark[, text]]) as a bucket takes them, by offset."""
    rows = [
        {
            "offset": i, "before_s": None, "event_s": float(t), "mark": float(rest[0]) if rest else 1.0,
            "kind": ["tweet", "retweet"].index(kind), "cid": cid, "text": rest[1] if len(rest) > 1 else None,
        }
        for i, (cid, kind, t, *rest) in enumerate(events)
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist(rows, schema=EVENTS)


def advance(bucket, *events, until_s=None, rules=SMALL):
    latest_s = max([bucket.latest_s, *(event[2] for event in events), *([until_s] if until_s else [])])
    return step(bucket, told(*events), float(np.nextafter(latest_s, np.inf)), rules)


finite = st.floats(allow_nan=False, allow_infinity=False)
rows = st.lists(
    st.builds(
        cascade, st.binary(max_size=12), st.none() | st.text(max_size=5),
        st.lists(st.tuples(finite, finite), max_size=4), st.integers(0, 1), root_s=finite, last_s=finite,
        size=st.integers(1, 2**31 - 1), sent=st.integers(0, 3),
    ),
    unique_by=lambda row: row["cid"], max_size=9,
)  # fmt: skip
rooms = st.builds(Capacity, *[st.integers(0, 40)] * 4)


@settings(max_examples=150, deadline=None)
@given(rows, rooms)
def test_cascades_are_what_was_laid_out(rows, room):
    table = laid_out(rows, room)
    batch = pa.RecordBatch.from_pylist(rows, schema=CASCADES)
    assert open_rows(table, 2).equals(batch)
    assert (table.header[N_SLOTS], table.header[N_OPEN], table.latest_s[0]) == (len(rows), len(rows), 7.0)


@settings(max_examples=50, deadline=None)
@given(rows, rooms)
def test_a_buffer_holds_the_table_that_was_laid_out_in_it(rows, room):
    buffers = []

    def allocate(size):
        buffers.append(bytearray(size))
        return buffers[-1]

    batch = pa.RecordBatch.from_pylist(rows, schema=CASCADES)
    table_of(batch, 7.0, room, allocate)
    [buffer] = buffers
    table = opened(bytearray(buffer))
    assert open_rows(table, 2).equals(batch)
    assert len(buffer) == table_bytes(table.capacity)


def test_a_buffer_of_another_layout_holds_no_table():
    buffers = []
    table_of(
        pa.RecordBatch.from_pylist([cascade(b"a")], schema=CASCADES), 7.0, Capacity(9, 9, 9, 9),
        lambda size: (buffers.append(bytearray(size)), buffers[-1])[1],
    )  # fmt: skip
    [whole] = buffers
    other = bytearray(whole)
    np.frombuffer(other, np.int64)[VERSION] += 1
    larger = bytearray(whole)
    np.frombuffer(larger, np.int64)[16] += 100
    negative = bytearray(whole)
    np.frombuffer(negative, np.int64)[16:20] = -1
    noise = bytearray(np.random.default_rng(1).bytes(len(whole)))
    assert opened(bytearray(whole)) is not None
    cut = [whole[:length] for length in (0, 1, 255, 256, len(whole) - 64, len(whole) - 1)]
    for buffer in (*cut, whole + whole[:64], other, larger, negative, noise, bytearray(len(whole))):
        assert opened(buffer) is None


def test_a_text_that_is_empty_is_not_a_text_that_is_missing():
    with TIGHT:
        bucket = Bucket.empty()
        advance(bucket, (b"null", "tweet", 0), (b"empty", "tweet", 0, 1, ""), (b"some", "tweet", 0, 1, "é"))
        for i in range(3):
            assert bucket.cascades(2)["text"].to_pylist() == [None, "", "é"]
            bucket = Bucket.from_bytes(bucket.to_bytes(2))
            advance(bucket, *((cid, "retweet", 1 + i) for cid in (b"empty", b"some", b"null")))
        windows = advance(bucket, until_s=6.5).windows
    assert dict(zip(windows.cid.to_pylist(), windows.text.to_pylist(), strict=True)) == {
        b"null": None, b"empty": "", b"some": "é",
    }  # fmt: skip


def test_a_table_that_grows_keeps_its_open_cascades():
    with TIGHT:
        bucket, tables = Bucket.empty(), set()
        for i in range(40):
            advance(
                bucket,
                (b"c%d" % i, "tweet", i / 16, i, "t" * i),
                *((b"c%d" % j, "retweet", i / 16, i) for j in range(i)),
            )
            tables.add(bucket.table.capacity)
            [*found] = bucket.cascades(2).to_pylist()
            assert [row["cid"] for row in found] == [b"c%d" % j for j in range(i + 1)]
            assert [row["text"] for row in found] == ["t" * j for j in range(i + 1)]
            assert [row["history_marks"] for row in found] == [
                [*map(float, range(j, i + 1))] for j in range(i + 1)
            ]
            assert [row["size"] for row in found] == [i + 1 - j for j in range(i + 1)]
    assert len(tables) > 3


def test_a_table_grows_seldom():
    """Each growth copies the living: with room for as many again, all copies together cost what is there."""
    bucket, capacities = Bucket.empty(), []
    for i in range(300):
        advance(bucket, *((b"%d-%d" % (i, j), "tweet", i / 256) for j in range(20)))
        capacities.append(bucket.table.capacity.slots)
    assert bucket.table.header[N_OPEN] == 6000
    assert len(set(capacities)) <= 7
    assert capacities[-1] < 4 * 6000


def test_ended_cascades_are_left_behind():
    bucket, most = Bucket.empty(), 0
    advance(bucket, (b"stays", "tweet", 0))
    for i in range(200):
        t = 20.0 * i
        new = [(b"%d-%d" % (i, j), "tweet", t) for j in range(20)]
        found = advance(bucket, *new, *((b"stays", "retweet", t + 3 * j) for j in range(4)))
        assert found.ended == (20 if i else 0)
        most = max(most, bucket.nbytes)
    assert bucket.table.header[N_OPEN] == 21
    assert most < 3 * Bucket.empty().nbytes


def test_an_id_that_returns_is_a_new_cascade_each_time():
    bucket = Bucket.empty()
    for i in range(600):
        t = 20.0 * i
        found = advance(bucket, (b"a", "tweet", t, 1, f"{i}"), (b"a", "retweet", t), (b"a", "retweet", t + 1))
        assert (found.opened, found.ended) == (1, int(i > 0))
        if i:
            assert found.sizes.size.tolist() == [3, 3]
            assert found.sizes.root_s.tolist() == [t - 20.0] * 2
        found = advance(bucket, until_s=t + 6.5).windows
        assert found.text.to_pylist() == [f"{i}"]
        assert found.history.times_s.tolist() == [0, 0, 1]


@pytest.mark.usefixtures("one_seed")
def test_ids_that_want_one_place_are_followed_apart():
    names = crowded(40)
    bucket = Bucket.empty()
    with TIGHT:
        for i, cid in enumerate(names):
            advance(bucket, (cid, "tweet", 0.0), *((name, "retweet", i / 64, i) for name in names[: i + 1]))
    # Those that end leave holes in no chain: an id behind them is still found, and they may come back.
    advance(bucket, *((cid, "retweet", 15.0) for cid in names[::2]))
    advance(bucket, until_s=19.5)
    assert bucket.cascades(2)["cid"].to_pylist() == names[::2]
    found = advance(bucket, *((cid, "tweet", 20.0) for cid in reversed(names)))
    assert (found.opened, found.refused.num_rows) == (len(names) // 2, len(names) // 2)
    sizes = dict(zip(*(bucket.cascades(2)[name].to_pylist() for name in ("cid", "size")), strict=True))
    assert sizes == {cid: 1 if i % 2 else 41 - i + 1 for i, cid in enumerate(names)}


def log_of_few_ids(seed):
    rng, t, log = np.random.default_rng(seed), 0.0, []
    for offset in range(160):
        t += rng.exponential(0.4)
        cid, kind = (
            f"c{rng.integers(6)}" * rng.integers(1, 4),
            rng.choice(["tweet", "retweet"], p=[0.25, 0.75]),
        )
        log.append(
            (offset, cid, str(kind), round(t, 2), float(rng.integers(9)), rng.choice([None, "", "a text"]))
        )
    return [*log, (160, None, "tick", t + 100, 0.0, None)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2999), st.integers(9, 60), st.none() | st.integers(0, 100), rooms)
def test_output_does_not_depend_on_room(seed, size, mishaps, room):
    log = log_of_few_ids(seed)
    batches = [records(log[i : i + size]) for i in range(0, len(log), size)]
    with mock.patch("udfs.cascades.bucket._LEAST_ROOM", room):
        found = collect(batches, SMALL, 1, mishaps)
    found.letters.sort()
    expected = replay(log, SMALL)
    expected.letters.sort()
    assert dataclasses.asdict(found) == dataclasses.asdict(expected)
    assert expected.sizes
