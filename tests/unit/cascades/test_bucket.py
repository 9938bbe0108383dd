import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.cascades.logs import records
from udfs.cascades.bucket import (
    CASCADES,
    EVENTS,
    PENDING,
    Bucket,
    StateVersionError,
    from_ipc,
    one_batch,
    to_ipc,
)
from udfs.cascades.rules import Rules
from udfs.cascades.step import step
from udfs.cascades.tweets import Packer

RULES = dataclasses.replace(Rules(), max_events_per_window=50)


def advanced(bucket, log, rules=RULES):
    packer = Packer(rules, 1, "tweets")
    rows = [row for part in (*packer.pack(records(log)), *packer.clocks()) for row in part.to_pylist()]
    events = one_batch(EVENTS, [from_ipc(row["events"], EVENTS) for row in rows])
    return step(bucket, events, max(row["latest_s"] for row in rows), rules).bucket


def burst(cid, start_s, count):
    kinds = ["tweet"] + ["retweet"] * (count - 1)
    return [(i, cid, kind, start_s + i * 0.5, 1.5 * i, "é\n") for i, kind in enumerate(kinds)]


def filled():
    """A bucket with two open cascades and events that still wait."""
    log = sorted(burst("é😀", 0.0, 30) + burst('"', 3.0, 20), key=lambda event: event[3])
    return advanced(Bucket.empty(), log)


def test_a_bucket_survives_its_bytes():
    bucket = filled()
    assert bucket.cascades.num_rows == 2
    assert bucket.pending.num_rows > 0
    again = Bucket.from_bytes(bucket.to_bytes())
    assert again.latest_s == bucket.latest_s
    assert again.cascades.equals(bucket.cascades)
    assert again.pending.equals(bucket.pending)
    assert again.to_bytes() == bucket.to_bytes()


def test_an_empty_bucket_survives_its_bytes():
    again = Bucket.from_bytes(Bucket.empty().to_bytes())
    assert again.latest_s == -np.inf
    assert (again.cascades.schema, again.pending.schema) == (CASCADES, PENDING)
    assert again.cascades.num_rows == again.pending.num_rows == 0


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_refused_with_what_to_do(version):
    data = bytes([version]) + filled().to_bytes()[1:]
    with pytest.raises(StateVersionError, match=f"version {version}.*empty checkpoint"):
        Bucket.from_bytes(data)


def test_other_columns_are_refused():
    batch = pa.RecordBatch.from_pydict({"cid": [b"a"]})
    with pytest.raises(StateVersionError, match="columns"):
        from_ipc(to_ipc(batch), CASCADES)


def test_a_cascade_with_endless_retweets_takes_bounded_state():
    bucket, sizes = Bucket.empty(), []
    for i in range(8):
        kind = "retweet" if i else "tweet"
        bucket = advanced(bucket, [(0, "a", kind, i * 50.0, 1.0, None), *burst("a", i * 50.0, 100)[1:]])
        sizes.append(len(bucket.to_bytes()))
    [cascade] = bucket.cascades.to_pylist()
    assert cascade["size"] > 700
    assert len(cascade["history_s"]) == len(cascade["history_marks"]) == 50
    assert max(sizes) - min(sizes) < 100


def test_history_and_text_leave_when_the_last_window_closes():
    before = filled()
    after = advanced(before, [(99, None, "tick", 1400.0, 0.0, None)])
    assert after.cascades["history_s"].to_pylist() == after.cascades["history_marks"].to_pylist() == [[], []]
    assert after.cascades["text"].to_pylist() == [None, None]
    assert len(after.to_bytes()) < len(before.to_bytes())
    assert advanced(after, [(100, None, "tick", 9000.0, 0.0, None)]).cascades.num_rows == 0
