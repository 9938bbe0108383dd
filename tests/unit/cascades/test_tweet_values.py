"""A batch is read by two readers, row by row as each row would be alone."""

from __future__ import annotations

import dataclasses
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.cascades import tweet_values
from udfs.cascades.rules import Rules
from udfs.cascades.scan import KINDS
from udfs.cascades.tweet_values import read_tweets

RULES = dataclasses.replace(Rules(), max_value_bytes=100)

SCANNED = [
    '{"type":"tweet","t":1.5,"m":2,"msg":"é"}'.encode(),
    b'{"type":"retweet","t":3,"m":0.25}',
    b'{"type":"tick","t":7}',
    b'{"type":"tweet","t":1,"msg":""}',
]
STRICT = [
    rb'{"type":"tweet","t":1,"m":5,"msg":"\u00e9\n"}',
    b'{"type":"retweet","t":1e3,"m":1.0e-7}',
    b'{"type":"tweet","t":2,"t":3,"m":null,"msg":null}',
    b'{"type":"tick","t":1,"x":[{"t":9}]}',
]
BAD = {
    None: "bad_json",
    b"": "bad_json",
    b"\xff": "bad_json",
    b'{"type":"tweet","t":1,"msg":"\xc3"}': "bad_json",
    b'{"type":"tweet","t":1': "bad_json",
    b'{"type":"like","t":1}': "bad_field",
    b'{"type":"tweet"}': "bad_field",
    b'{"type":"tweet","t":1,"msg":"' + b"x" * 100 + b'"}': "too_large",
}
MEANING = {
    SCANNED[0]: ("tweet", 1.5, 2.0, "é"),
    SCANNED[1]: ("retweet", 3.0, 0.25, None),
    SCANNED[2]: ("tick", 7.0, None, None),
    SCANNED[3]: ("tweet", 1.0, None, ""),
    STRICT[0]: ("tweet", 1.0, 5.0, "é\n"),
    STRICT[1]: ("retweet", 1000.0, 1e-7, None),
    STRICT[2]: ("tweet", 3.0, None, None),
    STRICT[3]: ("tick", 1.0, None, None),
    **BAD,
}


def read(values):
    """Per value what it means, or the code of its reason; each gets exactly one of the two."""
    column = values if isinstance(values, pa.Array) else pa.array(values, pa.binary())
    tweets, rejected = read_tweets(column, RULES)
    places = tweets.place.tolist()
    assert places == sorted(places)
    assert sorted([*places, *rejected.rows]) == list(range(len(column)))
    assert len(rejected.rows) == len(rejected.reasons) == len(rejected.details)
    m = [None if np.isnan(mark) else mark for mark in tweets.m.tolist()]
    kinds = [KINDS[kind] for kind in tweets.kind]
    columns = zip(kinds, tweets.t.tolist(), m, tweets.msg.to_pylist(), strict=True)
    found = dict(zip(places, columns, strict=True)) | dict(zip(rejected.rows, rejected.reasons, strict=True))
    return [found[i] for i in range(len(column))]


def strictly_read(monkeypatch):
    """Note the values that the scanner leaves to the strict reader."""
    left, strictly = [], tweet_values._strictly

    def noted(values, rows, rules):
        left.extend(values.take(pa.array(rows)).to_pylist())
        return strictly(values, rows, rules)

    monkeypatch.setattr(tweet_values, "_strictly", noted)
    return left


def test_a_mixed_batch_keeps_order_and_places(monkeypatch):
    left = strictly_read(monkeypatch)
    utf8 = [value for value in BAD if value is None or value.isascii()]
    values = [value for three in zip(SCANNED, STRICT, utf8, strict=False) for value in three]
    values = [*values, *STRICT, *reversed(values), *SCANNED]
    assert read(values) == [MEANING[value] for value in values]
    assert left == [value for value in values if value not in SCANNED]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(list(MEANING)), max_size=12))
def test_a_value_means_the_same_whatever_lies_beside_it(values):
    assert read(values) == [MEANING[value] for value in values]


def test_a_good_batch_is_read_by_the_scanner_alone(monkeypatch):
    left = strictly_read(monkeypatch)
    assert read(SCANNED * 3) == [MEANING[value] for value in SCANNED] * 3
    assert left == []


def test_a_value_that_is_not_utf8_keeps_the_others_good(monkeypatch):
    left = strictly_read(monkeypatch)
    assert read([SCANNED[0], b"\xff", STRICT[0]]) == [MEANING[SCANNED[0]], "bad_json", MEANING[STRICT[0]]]
    assert len(left) == 3


def test_a_character_cut_in_two_by_the_end_of_a_value_is_not_utf8():
    """Together the bytes are UTF-8, each value alone is not."""
    text = '{"type":"tweet","t":1,"msg":"é"}'.encode()
    at = text.index(b"\xc3") + 1
    assert read([text[:at], text[at:]]) == ["bad_json"] * 2
    assert read([text]) == [("tweet", 1.0, None, "é")]


@pytest.mark.parametrize("values", [SCANNED, STRICT, list(BAD), SCANNED + STRICT + list(BAD)])
def test_a_slice_of_a_column_is_read_as_itself(values):
    column = pa.array([b"x", *values, SCANNED[0]], pa.binary()).slice(1, len(values))
    assert read(column) == [MEANING[value] for value in values]


def test_an_empty_batch_is_read():
    assert read([]) == []
    assert read(pa.array([SCANNED[0]], pa.binary()).slice(1)) == []


def test_nothing_is_scanned_beyond_the_longest_value():
    longest = SCANNED[0] + b" " * (RULES.max_value_bytes - len(SCANNED[0]))
    with mock.patch.object(tweet_values, "_strictly", side_effect=AssertionError):
        assert read([longest]) == [MEANING[SCANNED[0]]]
    assert read([longest + b" ", longest]) == ["too_large", MEANING[SCANNED[0]]]
