import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.cascades.logs import records
from udfs.cascades.bucket import (
    CASCADES,
    EVENTS,
    PENDING,
    STATE_VERSION,
    Bucket,
    StateVersionError,
    empty_batch,
    events_entry,
    from_ipc,
    one_batch,
    read_entry,
    to_ipc,
)
from udfs.cascades.rules import Rules
from udfs.cascades.step import step
from udfs.cascades.tweets import Packer

RULES = dataclasses.replace(Rules(), max_events_per_window=50)
N_WINDOWS = len(RULES.windows_s)


def advance(bucket, log, rules=RULES):
    packer = Packer(rules, 1, "tweets")
    rows = [row for part in (*packer.pack(records(log)), *packer.clocks()) for row in part.to_pylist()]
    events = one_batch(EVENTS, [from_ipc(row["events"], EVENTS) for row in rows])
    return step(bucket, events, max(row["latest_s"] for row in rows), rules)


def burst(cid, start_s, count):
    kinds = ["tweet"] + ["retweet"] * (count - 1)
    return [(i, cid, kind, start_s + i * 0.5, 1.5 * i, "é\n") for i, kind in enumerate(kinds)]


def filled():
    """A bucket with two open cascades and events that still wait."""
    log = sorted(burst("é😀", 0.0, 30) + burst('"', 3.0, 20), key=lambda event: event[3])
    bucket = Bucket.empty()
    advance(bucket, log)
    return bucket


def test_a_bucket_survives_its_bytes():
    bucket = filled()
    assert bucket.cascades(N_WINDOWS).num_rows == 2
    assert bucket.pending.num_rows > 0
    again = Bucket.from_bytes(bucket.to_bytes(N_WINDOWS))
    assert again.latest_s == bucket.latest_s
    assert again.cascades(N_WINDOWS).equals(bucket.cascades(N_WINDOWS))
    assert again.pending.equals(bucket.pending)
    assert again.to_bytes(N_WINDOWS) == bucket.to_bytes(N_WINDOWS)


def test_an_empty_bucket_survives_its_bytes():
    again = Bucket.from_bytes(Bucket.empty().to_bytes(N_WINDOWS))
    assert again.latest_s == -np.inf
    cascades = again.cascades(N_WINDOWS)
    assert (cascades.schema, again.pending.schema) == (CASCADES, PENDING)
    assert cascades.num_rows == again.pending.num_rows == 0


def test_a_bucket_made_from_bytes_goes_on_like_the_one_that_wrote_them():
    bucket = filled()
    again = Bucket.from_bytes(bucket.to_bytes(N_WINDOWS))
    rest = [(60, "é😀", "retweet", 16.0, 2.0, None), (61, None, "tick", 700.0, 0.0, None)]
    sent = [advance(each, rest).windows for each in (bucket, again)]
    assert sent[0].cid.to_pylist() == sent[1].cid.to_pylist() == ["é😀".encode(), b'"']
    assert sent[0].text.to_pylist() == sent[1].text.to_pylist() == ["é\n"] * 2
    assert sent[0].history.times_s.tolist() == sent[1].history.times_s.tolist()
    assert bucket.to_bytes(N_WINDOWS) == again.to_bytes(N_WINDOWS)


@pytest.mark.parametrize("version", [0, 1, STATE_VERSION + 1, 255])
def test_another_version_is_refused_with_what_to_do(version):
    data = bytes([version]) + filled().to_bytes(N_WINDOWS)[1:]
    for read in (Bucket.from_bytes, read_entry):
        with pytest.raises(StateVersionError, match=f"version {version}.*empty checkpoint"):
            read(data)


def test_other_columns_are_refused():
    batch = pa.RecordBatch.from_pydict({"cid": [b"a"]})
    with pytest.raises(StateVersionError, match="columns"):
        from_ipc(to_ipc(batch), CASCADES)


def test_events_are_no_bucket():
    entry = events_entry([to_ipc(empty_batch(EVENTS))], 5.0)
    assert read_entry(entry).latest_s == 5.0
    with pytest.raises(StateVersionError, match="begins with events"):
        Bucket.from_bytes(entry)


def test_an_entry_joins_the_events_of_several_arrow_batches_in_their_order():
    row = {"offset": 0, "event_s": 1.0, "mark": 1.0, "kind": 0, "cid": b"a", "before_s": None, "text": ""}
    parts = [pa.RecordBatch.from_pylist([{**row, "offset": i}], schema=EVENTS) for i in (3, 1, 2)]
    entry = read_entry(events_entry([to_ipc(parts[0]), b"", *map(to_ipc, parts[1:])], -np.inf))
    assert entry.cascades is None
    assert entry.latest_s == -np.inf
    assert entry.events.equals(one_batch(EVENTS, parts))


def test_a_cascade_with_endless_retweets_takes_bounded_state():
    bucket, written, held = Bucket.empty(), [], []
    for i in range(20):
        kind = "retweet" if i else "tweet"
        advance(bucket, [(0, "a", kind, i * 50.0, 1.0, None), *burst("a", i * 50.0, 100)[1:]])
        written.append(len(bucket.to_bytes(N_WINDOWS)))
        held.append(bucket.nbytes)
    [cascade] = bucket.cascades(N_WINDOWS).to_pylist()
    assert cascade["size"] > 1900
    assert len(cascade["history_s"]) == len(cascade["history_marks"]) == 50
    assert max(written) - min(written) < 100
    assert max(held) == held[-1] == held[0]


def test_history_and_text_leave_when_the_last_window_closes():
    bucket = filled()
    before = len(bucket.to_bytes(N_WINDOWS))
    advance(bucket, [(99, None, "tick", 1400.0, 0.0, None)])
    cascades = bucket.cascades(N_WINDOWS)
    assert cascades["history_s"].to_pylist() == cascades["history_marks"].to_pylist() == [[], []]
    assert cascades["text"].to_pylist() == [None, None]
    assert len(bucket.to_bytes(N_WINDOWS)) < before
    advance(bucket, [(100, None, "tick", 9000.0, 0.0, None)])
    assert bucket.cascades(N_WINDOWS).num_rows == 0
