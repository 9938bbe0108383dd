from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import replay
from tests.unit.cascades.colliding import SEED, crowded, hash_of, pair_of_one_hash
from tests.unit.cascades.logs import collect, records
from udfs.cascades.bucket import EVENTS, Bucket
from udfs.cascades.ids import buckets_of, hash_bytes, place_of
from udfs.cascades.rules import Rules
from udfs.cascades.step import step
from udfs.cascades.table import SLOT
from udfs.json_rows import binary_parts

SMALL = Rules(windows_s=(6.0, 12.0), terminated_s=18.0, min_cascade_size=3, allowed_delay_s=2.0)
ids = st.lists(
    st.binary(max_size=20) | st.sampled_from([b"", b"a", b"a\0", b"\0" * 8, b"\0" * 9]), max_size=60
)


def numbered(names, seed=SEED):
    """Number ids in the order in which each first came, by an index as a table has."""
    ends, data = binary_parts(pa.array(names, pa.binary()))
    index = np.full(1 << int(2 * len(names) + 1).bit_length(), -1, np.int32)
    slots, known, numbers, count = np.zeros(len(names), SLOT), b"", [], 0
    for start, stop in pairwise(ends):
        h = np.uint64(hash_bytes(data, start, stop, seed))
        place = place_of(index, slots, np.frombuffer(known, np.uint8), h, data, start, stop)
        if index[place] < 0:
            index[place] = count
            slots[count]["hash"], slots[count]["id_start"], slots[count]["id_size"] = (
                h,
                len(known),
                stop - start,
            )
            known += data[start:stop].tobytes()
            count += 1
        numbers.append(int(index[place]))
    return numbers


def expected(names):
    numbers = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]


@settings(max_examples=100, deadline=None)
@given(ids, st.integers(0, 2**64 - 1))
def test_ids_are_numbered_as_a_dictionary_would(names, seed):
    names = names + names[::2]
    assert numbered(names, np.uint64(seed)) == expected(names)


def test_ids_that_want_one_place_in_the_table_stay_apart():
    names = crowded(12)
    assert len({hash_of(name) % 4096 for name in names}) == 1
    for split in range(len(names) + 1):
        assert numbered(names[split:] + names * 2) == expected(names[split:] + names * 2)


def test_ids_with_one_hash_stay_two():
    a, b = (name.encode() for name in pair_of_one_hash())
    assert a != b
    assert hash_of(a) == hash_of(b)
    assert numbered([a, b, a, b, b]) == [0, 1, 0, 1, 1]


@pytest.mark.usefixtures("one_seed")
@pytest.mark.parametrize("others", [0, 700])
@pytest.mark.parametrize("mishaps", [None, 1])
def test_cascades_whose_ids_have_one_hash_stay_two(others, mishaps):
    a, b = pair_of_one_hash()
    told = [(a, "tweet", 0.0), (b, "retweet", 0.0), (b, "tweet", 1.0)]
    told += [(f"other-{i}", "tweet", 1.0) for i in range(others)]
    told += [(cid, "retweet", 2.0 + i / 8) for i, cid in enumerate([a, a, b, a, b, a])]
    told += [(a, "retweet", 24.0), (None, "tick", 40.0), (b, "tweet", 41.0), (a, "retweet", 41.0)]
    told += [(b, "retweet", 42.0 + i) for i in range(3)] + [(None, "tick", 99.0)]
    log = [(offset, cid, kind, t, 1.0, None) for offset, (cid, kind, t) in enumerate(told)]
    at_once, alone = log[: 3 + others], log[3 + others :]
    batches = [records(at_once), *(records([event]) for event in alone)]
    out, oracle = collect(batches, SMALL, 1, mishaps), replay(log, SMALL)
    assert out.partials == oracle.partials
    assert {cid for cid, *_ in out.partials} == {a, b}
    assert out.sizes == oracle.sizes == {
        (a, 6.0, 0.0): (5, 2.625), (a, 12.0, 0.0): (5, 2.625),
        (b, 6.0, 1.0): (3, 2.5), (b, 12.0, 1.0): (3, 2.5),
        (b, 6.0, 41.0): (4, 44.0), (b, 12.0, 41.0): (4, 44.0),
    }  # fmt: skip
    assert sorted(out.letters) == sorted(oracle.letters)


def test_a_slice_of_a_column_is_matched_as_itself():
    columns = {
        "offset": range(5),
        "before_s": [None] * 5,
        "event_s": np.arange(5.0),
        "mark": np.ones(5),
        "kind": [0, 0, 0, 1, 1],
        "cid": [b"x", b"a", b"b", b"a", b"y"],
        "text": ["1", "22", None, "4", ""],
    }
    events = pa.RecordBatch.from_pydict(columns, schema=EVENTS).slice(1, 3)
    bucket = Bucket.empty()
    step(bucket, events, 9.0, SMALL)
    [a, b] = bucket.cascades(2).to_pylist()
    assert (a["cid"], a["text"], a["size"]) == (b"a", "22", 2)
    assert (b["cid"], b["text"], b["size"]) == (b"b", None, 1)


@pytest.mark.parametrize("count", [1, 3, 64])
def test_buckets_are_filled_evenly(count):
    names = pa.array([b"cascade-%d" % i for i in range(6400)], pa.binary())
    filled = np.bincount(buckets_of(*binary_parts(names), count), minlength=count)
    assert len(filled) == count
    # Six standard deviations of a fair draw.
    assert np.abs(filled - 6400 / count).max() <= 6 * np.sqrt(6400 / count)
