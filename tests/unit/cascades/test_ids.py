import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.cascades.ids import buckets_of, hash_bytes, match_ids
from udfs.json_rows import binary_parts

SEED = np.uint64(5)
ids = st.lists(
    st.binary(max_size=20) | st.sampled_from([b"", b"a", b"a\0", b"\0" * 8, b"\0" * 9]), max_size=60
)


def matched(known, names, seed=SEED):
    parts = [binary_parts(pa.array(part, pa.binary())) for part in (known, names)]
    numbers, first = match_ids(*parts[0], *parts[1], seed)
    return numbers.tolist(), first.tolist()


def expected(known, names):
    numbers = {name: number for number, name in enumerate(known)}
    first = []
    for row, name in enumerate(names):
        if name not in numbers:
            numbers[name] = len(numbers)
            first.append(row)
    return [numbers[name] for name in names], first


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=20), unique=True, max_size=40), ids, st.integers(0, 2**64 - 1))
def test_ids_are_numbered_as_a_dictionary_would(known, names, seed):
    names = names + known[::2]
    assert matched(known, names, np.uint64(seed)) == expected(known, names)


def hash_of(name, seed=SEED):
    return int(hash_bytes(np.frombuffer(name, np.uint8), 0, len(name), seed))


def crowded(count):
    """Ids whose hashes end with the same 12 bits: one place in any table of up to 4096."""
    places = {}
    for number in range(count * 4096 * 2):
        name = b"%d" % number
        places.setdefault(hash_of(name) % 4096, []).append(name)
    return max(places.values(), key=len)[:count]


def test_ids_that_want_one_place_in_the_table_stay_apart():
    names = crowded(12)
    assert len({hash_of(name) % 4096 for name in names}) == 1
    for split in range(len(names) + 1):
        assert matched(names[:split], names * 2) == expected(names[:split], names * 2)


def unmixed(word, h, prime=0x9E3779B97F4A7C15):
    """One step of the hash before its finisher, in Python's integers."""
    h = ((h ^ word) * prime) % 2**64
    return h ^ (h >> 32)


def test_ids_with_one_hash_stay_two():
    # Each step of 8 bytes can be undone: choose the second half so that both ids end in the same state.
    prime = 0x9E3779B97F4A7C15
    start = int(SEED) ^ (16 * prime % 2**64)
    one, other = b"first id", b"otherone"
    after = [unmixed(int.from_bytes(half, "little"), start) for half in (one, other)]
    tail = int.from_bytes(b"the tail", "little")
    same_tail = tail ^ after[0] ^ after[1]
    a, b = one + tail.to_bytes(8, "little"), other + same_tail.to_bytes(8, "little")
    assert a != b
    assert hash_of(a) == hash_of(b)
    assert matched([], [a, b, a, b]) == ([0, 1, 0, 1], [0, 1])
    assert matched([b], [a, b, a]) == ([1, 0, 1], [0])


def test_a_slice_of_a_column_is_matched_as_itself():
    column = pa.array([b"x", b"a", b"b", b"a", b"y"], pa.binary()).slice(1, 3)
    numbers, first = match_ids(*binary_parts(pa.array([], pa.binary())), *binary_parts(column), SEED)
    assert (numbers.tolist(), first.tolist()) == ([0, 1, 0], [0, 1])


@pytest.mark.parametrize("count", [1, 3, 64])
def test_buckets_are_filled_evenly(count):
    names = pa.array([b"cascade-%d" % i for i in range(6400)], pa.binary())
    filled = np.bincount(buckets_of(*binary_parts(names), count), minlength=count)
    assert len(filled) == count
    # Six standard deviations of a fair draw.
    assert np.abs(filled - 6400 / count).max() <= 6 * np.sqrt(6400 / count)
