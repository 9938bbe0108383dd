"""Whatever lies beside a value, it is read as it would be alone."""

from __future__ import annotations

import json
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.json_rows import SMALLEST_BATCH, Int64, JsonRows, json_numbers, json_strings


class Row(msgspec.Struct):
    """No stricter inside its lists than Arrow is: what lists hold is judged by the reader of a topic."""

    type: Literal["a", "b"]
    t: float
    m: float | None = None
    n: Int64 | None = None
    msg: str | None = None
    pairs: list[list[float | None] | None] | None = None


SCHEMA = pa.schema(
    [
        ("type", pa.string()),
        ("t", pa.float64()),
        ("m", pa.float64()),
        ("n", pa.int64()),
        ("msg", pa.string()),
        ("pairs", pa.list_(pa.list_(pa.float64()))),
    ]
)
READER = JsonRows(Row, SCHEMA, ("type", "t"), {"type": ("a", "b")}, 1000)


def read(values):
    """Per value its columns or the code of its reason; a value must get exactly one of the two."""
    table, places, rejected = READER.read(pa.array(values, pa.binary()))
    assert table.schema == SCHEMA
    assert sorted([*places.tolist(), *rejected.rows]) == list(range(len(values)))
    assert places.tolist() == sorted(places.tolist())
    found = dict(zip(places.tolist(), table.to_pylist(), strict=True))
    found |= dict(zip(rejected.rows, rejected.reasons, strict=True))
    return [found[i] for i in range(len(values))]


def alone(values):
    return [read([value])[0] for value in values]


numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.integers(-(10**25), 10**25), st.sampled_from([0, -0.0])
)
finite = st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["a", "b", "a", "c"]),
        "t": st.one_of(numbers, anything),
        "m": st.one_of(numbers, st.none()),
        "n": st.one_of(st.integers(-(2**70), 2**70), st.none(), st.floats(allow_nan=False)),
        "msg": st.one_of(st.text(max_size=20), anything),
        "pairs": st.lists(st.lists(st.none() | finite, max_size=3), max_size=3),
        "other": anything,
    },
)
sound = st.builds(
    lambda t, m, msg: {"type": "a", "t": t, "m": m, "msg": msg},
    finite, st.none() | st.integers(0, 10**6), st.text(max_size=9),
)  # fmt: skip
written = st.builds(
    lambda value, indent, ascii_: json.dumps(value, indent=indent, ensure_ascii=ascii_).encode(
        "utf-8", "surrogatepass"
    ),
    st.one_of(sound, fields), st.sampled_from([None, None, None, 1]), st.booleans(),
)  # fmt: skip
#: Bytes that open, close, part or end something.
torn = st.lists(
    st.sampled_from([b'{"type":"a","t":1}', b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"\r", b"\0",
                     b"\\", b" ", b"\xff", b"\xef\xbb\xbf", b'"t":2', b"null",
                     b"NaN", b"1e999", b"/*", b"//"]),
    max_size=8,
).map(b"".join)  # fmt: skip
values = st.one_of(written, written, torn, st.none(), st.binary(max_size=30))


def same(one, other):
    return repr(one) == repr(other)  # equal floats, -0.0 and NaN included


@settings(max_examples=100, deadline=None)
@given(st.lists(values, max_size=12))
def test_a_row_is_read_as_it_would_be_alone(batch):
    assert same(read(batch), alone(batch))


@settings(max_examples=12, deadline=None)
@given(st.lists(values, min_size=1, max_size=4), st.integers(0, 2**30))
def test_a_bad_row_in_a_large_batch_harms_no_other(bad, seed):
    good = [f'{{"type":"a","t":{i}.5}}'.encode() for i in range(3 * SMALLEST_BATCH)]
    places = [(seed * (i + 1) * 7919) % len(good) for i in range(len(bad))]
    batch = list(good)
    for place, value in sorted(zip(places, bad, strict=True), key=lambda pair: -pair[0]):
        batch.insert(place, value)
    assert same(read(batch), alone(batch))


A = b'{"type":"a","t":1}'
#: Neighbours that a reader of lines could merge, split or lose, so that their count stays right.
TRICKS = [
    [A + A, b"{}"],
    [A + A, A + b"\0}"],
    [A, A + A + b"\0}", A],
    [A + b"\n" + A, b""],
    [b'{"type":"a","t":1', b"}"],
    [b'{"type":"a","msg":"', b'","t":1}'],
    [b'{"type":"a","t":1,"pairs":[{}', b"{}]}"],
    [b'{"type":"a","t":1}\r{"type":"a","t":2}', b"\r"],
    [b'{"type":"a","t":1}{"type":"b","t":2}', None],
    [b"{" * 300 + b"}" * 300, A],
    [b'{"type":"a","t":1,"x":' + b"[" * 400 + b"]" * 400 + b"}", A],
    [b'{"type":"a","t":1,"t":2}', A],
    [b'{"type":"a","\\u0074":3}', A],
    [b'{"a":1}//}', A],
]


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("around", [0, 2, 2 * SMALLEST_BATCH])
def test_values_neither_merge_nor_split(trick, around):
    good = [f'{{"type":"b","t":{i}}}'.encode() for i in range(around)]
    batch = [*good, *trick, *good]
    found = read(batch)
    assert same(found, alone(batch))
    assert [row["t"] for row in found[:around]] == [row["t"] for row in found[len(found) - around :]]
    assert [row["t"] for row in found[:around]] == list(map(float, range(around)))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "bad_json"),
        (b"", "bad_json"),
        (b"x", "bad_json"),
        (b'{"type":"a","t":NaN}', "bad_json"),
        (b'{"type":"a","t":1}}', "bad_json"),
        (b'{"type":"a","t":1,"msg":"\xe9"}', "bad_json"),
        (b'{"type":"a","t":1e999}', "bad_field"),
        (b'{"type":"a"}', "bad_field"),
        (b'{"type":"a","t":null}', "bad_field"),
        (b'{"type":"a","t":"1"}', "bad_field"),
        (b'{"type":"c","t":1}', "bad_field"),
        (b'{"type":"a","t":1,"n":9223372036854775808}', "bad_field"),
        (b'{"type":"a","t":1,"msg":5}', "bad_field"),
        (b'{"type":"a","t":1,"pairs":[[1]]}', None),
        (b"[]", "bad_field"),
        (b'{"type":"a","t":1,"msg":"' + b"x" * 1000 + b'"}', "too_large"),
    ],
)
def test_each_rejection_has_its_code(value, code):
    [[found]] = [read([value])]
    if code is None:
        # A list's inner shape is left to the reader of the topic, which sees the columns.
        assert found["pairs"] == [[1.0]]
    else:
        assert found == code


def test_details_are_short():
    _, _, rejected = READER.read(pa.array([b'{"type":"' + b"y" * 900 + b'"}', b"x" * 5000], pa.binary()))
    assert all(len(detail) <= 200 for detail in rejected.details)


def test_no_values_give_no_rows():
    table, places, rejected = READER.read(pa.array([], pa.binary()))
    assert (table.num_rows, len(places), rejected.rows) == (0, 0, [])


def test_a_slice_of_a_batch_is_read_as_itself():
    batch = pa.array([b"x", A, b'{"type":"b","t":2}', b"\n", None], pa.binary())
    table, places, rejected = READER.read(batch.slice(1, 2))
    assert (table["t"].to_pylist(), places.tolist(), rejected.rows) == ([1.0, 2.0], [0, 1], [])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=30)), max_size=10))
def test_texts_survive_json(texts):
    texts = [text and text.encode("utf-8", "replace").decode() for text in texts]
    assert [json.loads(text) for text in json_strings(texts).to_pylist()] == texts


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=10))
def test_numbers_survive_json_exactly(numbers):
    found = [json.loads(text) for text in json_numbers(np.array(numbers, float)).to_pylist()]
    assert list(map(float, found)) == numbers
