import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.cascades.logs import RECORDS, records
from tests.unit.cascades.logs import value as tweet
from udfs.cascades.bucket import EVENTS, from_ipc, one_batch
from udfs.cascades.rules import Rules
from udfs.cascades.tweets import PACKED, Packer
from udfs.letters import LETTERS

PROMPT = dataclasses.replace(Rules(), allowed_delay_s=2.0)


def log_of(*events):
    return [(offset, cid, kind, float(t), 1.0, None) for offset, (cid, kind, t) in enumerate(events)]


def raw(rows, partition=0):
    """Records of keys and values as they are."""
    found = [{"key": k, "value": v, "partition": partition, "offset": i} for i, (k, v) in enumerate(rows)]
    return pa.RecordBatch.from_pylist(found, schema=RECORDS)


def packed(packer, *batches):
    rows = [row for batch in batches for part in packer.pack(batch) for row in part.to_pylist()]
    return rows + [row for part in packer.clocks() for row in part.to_pylist()]


def events_of(rows):
    events = one_batch(EVENTS, [from_ipc(row["events"], EVENTS) for row in rows]).to_pylist()
    return sorted(events, key=lambda event: event["offset"])


def letters_of(rows):
    return one_batch(LETTERS, [from_ipc(row["letters"], LETTERS) for row in rows]).to_pylist()


def test_an_event_further_behind_than_the_delay_carries_the_latest_time_before_it():
    log = log_of(
        ("a", "tweet", 5), ("b", "tweet", 3), (None, "tick", 9), ("a", "retweet", 6.99), ("b", "retweet", 7)
    )
    for cut in range(1, 5):
        rows = packed(Packer(PROMPT, 4, "tweets"), records(log[:cut]), records(log[cut:]))
        assert [event["before_s"] for event in events_of(rows)] == [None, None, 9, None]
        assert max(row["latest_s"] for row in rows) == 9


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1), st.integers(0, 12))
def test_only_events_behind_the_running_clock_carry_it(times, cut):
    log = log_of(*(("a", "tweet", t) for t in times))
    batches = [records(part) for part in (log[:cut], log[cut:]) if part]
    before = [max(times[:i], default=-np.inf) for i in range(len(times))]
    behind = [b if t < b - PROMPT.allowed_delay_s else None for t, b in zip(times, before, strict=True)]
    assert [event["before_s"] for event in events_of(packed(Packer(PROMPT, 1, "tweets"), *batches))] == behind


def test_each_partition_has_its_own_clock():
    packer = Packer(Rules(), 2, "tweets")
    both = pa.concat_batches([records(log_of(("a", "tweet", 50)), 0), records(log_of(("b", "tweet", 3)), 1)])
    rows = packed(packer, both, records([(1, "a", "retweet", 6.0, 1.0, None)], 0))
    latest = {(row["partition"], row["latest_s"]) for row in rows[-4:]}
    assert latest == {(0, 50), (1, 3)}
    assert [event["before_s"] for event in events_of([r for r in rows if r["partition"] == 1])] == [None]


def test_every_bucket_gets_the_clock_once_a_micro_batch():
    packer = Packer(Rules(), 5, "tweets")
    list(packer.pack(records(log_of(("a", "tweet", 5)))))
    [clocks] = packer.clocks()
    assert clocks.schema == PACKED
    assert clocks["bucket"].to_pylist() == list(range(5))
    assert set(clocks["latest_s"].to_pylist()) == {5}


BAD = [
    (b"a", b'{"type":"retweet","t":1e6,"m":-1}'),
    (b"a", b'{"type":"retweet","t":1e6}'),
    (None, b'{"type":"retweet","t":1e6,"m":1}'),
    (b"k" * 513, b'{"type":"retweet","t":1e6,"m":1}'),
    (b"\xff", b'{"type":"retweet","t":1e6,"m":1}'),
    (None, b'{"type":"tick","t":1e18}'),
    (None, b'{"type":"tick","t":1e999}'),
    (b"a", b'{"type":"like","t":1e6,"m":1}'),
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_value_does_not_move_the_clock(bad):
    batch = raw([(b"a", tweet("tweet", 5)), bad, (b"a", tweet("retweet", 6)), (b"a", tweet("retweet", 1))])
    rows = packed(Packer(PROMPT, 3, "tweets"), batch)
    assert [event["before_s"] for event in events_of(rows)] == [None, None, 6]
    assert {row["latest_s"] for row in rows} == {6}
    assert [letter["key"] for letter in letters_of(rows)] == [bad[0]]


def test_only_bad_values_leave_the_clock_unset():
    rows = packed(Packer(Rules(), 3, "tweets"), raw(BAD))
    assert {row["latest_s"] for row in rows} == {-np.inf}
    assert len(letters_of(rows)) == len(BAD)


def test_ticks_need_no_key_and_are_counted():
    rows = packed(Packer(Rules(), 3, "tweets"), raw([(None, tweet("tick", 4)), (b"x", tweet("tick", 2))]))
    assert sum(row["ticks"] for row in rows) == 2
    assert events_of(rows) == []


def test_a_cascade_keeps_its_bucket_in_every_batch_and_process():
    names = ["é😀", "x" * 512, "\n", *(f"c{i}" for i in range(200))]
    homes = []
    for batches in (1, 7):
        packer, home = Packer(Rules(), 16, "tweets"), {}
        log = log_of(*((name, "tweet", 1) for name in names))
        for part in range(batches):
            for row in packed(packer, records(log[part::batches])):
                home |= {event["cid"]: row["bucket"] for event in from_ipc(row["events"], EVENTS).to_pylist()}
        homes.append(home)
    assert homes[0] == homes[1]
    assert set(homes[0].values()) == set(range(16))
    # A checkpoint holds cascades by bucket: these must never change.
    assert [homes[0][name.encode()] for name in ("c0", "c1", "c2", "é😀")] == [1, 4, 6, 9]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.text(alphabet="aé€😀", max_size=30), min_size=1), st.integers(0, 40))
def test_texts_are_cut_at_their_bound_before_a_character(texts, bound):
    rules = dataclasses.replace(Rules(), max_text_bytes=bound)
    log = [(i, "a", "tweet", 1.0, 1.0, text) for i, text in enumerate(texts)]
    found = [event["text"] for event in events_of(packed(Packer(rules, 1, "tweets"), records(log)))]
    for text, kept in zip(texts, found, strict=True):
        if text is None or len(text.encode()) <= bound:
            assert kept == text
        else:
            assert text.startswith(kept)
            size = len(kept.encode())
            assert size <= bound < size + len(text[len(kept)].encode())


def test_letters_are_of_the_rows_that_were_refused():
    rows = packed(Packer(Rules(), 2, "tweets"), raw([(b"a", b"x"), (b"b", tweet("tweet", 1)), (b"", b"{}")]))
    assert [letter["key"] for letter in letters_of(rows)] == [b"a", b""]
    assert [event["cid"] for event in events_of(rows)] == [b"b"]
