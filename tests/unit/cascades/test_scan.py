"""The scanner takes what the strict decoder takes, with its meaning, or leaves it."""

from __future__ import annotations

import json
import struct

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from udfs.cascades.scan import KINDS, scan
from udfs.cascades.tweet_values import Tweet
from udfs.json_rows import binary_parts

STRICT = msgspec.json.Decoder(Tweet)
LONGEST = 200


def scanned(*values, max_bytes=LONGEST):
    """Per value what the scanner read, None where it left it."""
    offsets, data = binary_parts(pa.array(values, pa.binary()))
    found = scan(offsets, data, max_bytes)
    return [
        (KINDS[found.kind[i]], found.t[i], found.m[i], text_of(data, found.msg_start[i], found.msg_stop[i]))
        if found.taken[i]
        else None
        for i in range(len(values))
    ]


def readable(found):
    return [row and meaning(*row) for row in found]


def text_of(data, start, stop):
    return None if start < 0 else data[start:stop].tobytes().decode()


def meaning(kind, t, m, msg):
    """What two readings must share, doubles by their bits; ``m`` that is absent is NaN."""
    absent = m is None or np.isnan(m)
    return kind, struct.pack("<d", t), None if absent else struct.pack("<d", m), msg


def assert_taken_as_decoded(value):
    [found] = scanned(value)
    if found is not None:
        tweet = STRICT.decode(value)
        assert meaning(*found) == meaning(tweet.type, tweet.t, tweet.m, tweet.msg)
    return found


def is_utf8(value):
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


#: Numbers right between two doubles and beside that, with as many digits as the scanner takes.
halfway = st.one_of(
    st.builds("{}.{}".format, st.integers(2**52, 2**53), st.sampled_from(["5", "50", "49", "51"])),
    st.builds("{}.{}".format, st.integers(2**51, 2**52), st.sampled_from(["25", "75", "24", "76"])),
    st.builds(
        lambda odd, shift, beside: str(((2 * odd + 1) << shift) + beside),
        st.integers(2**52, 2**53), st.integers(0, 5), st.integers(-1, 1),
    ),
)  # fmt: skip
digits = st.text("0123456789", max_size=20)
numbers = st.one_of(
    halfway,
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(0, 1e10).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.integers(0, 1000).map(str),
    st.builds("{}.{:03}".format, st.integers(0, 10**9), st.integers(0, 999)),
    st.builds("{}0.{}1".format, st.sampled_from(["", "-"]), digits),
)
odd_numbers = st.one_of(
    st.builds("{}{}.{}".format, st.sampled_from(["", "-"]), digits, digits),
    st.builds("{}{}".format, st.sampled_from(["-", "+", "-0", "0"]), digits),
    st.builds("{}{}{}".format, digits, st.sampled_from(["e", "E", "e-", ".e", "e+", "x", " "]), digits),
)
texts = st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False))
odd_texts = st.one_of(
    st.text('"\\/bu0\x00\x1f é😀', max_size=8).map(json.dumps),
    st.text('ab\x00\x1f\x7f"\\é', max_size=4).map('"{}"'.format),
)
words = st.sampled_from(["null", "true", "false"])
odd_words = st.sampled_from(
    ["nul", "True", "NaN", "Infinity", "", '"', "[]", "{}", "[1]", '{"t":1}', "falsee"]
)
odd_kinds = st.sampled_from(['"tweeted"', '"tic"', '""', '"Tweet"', '"tweet ', "tweet"])
odd_names = st.sampled_from(['"type"', '"t"', '"m"', '"msg"', '"T"', '"ms"', '""', '"\\u0074"', "t", '"t'])
anything = st.one_of(numbers, texts, words, odd_numbers, odd_texts, odd_words, odd_kinds)


@st.composite
def nearly_tweets(draw):
    """Draw a tweet's JSON of which each part is odd once in a while."""

    def mostly(usual, odd):
        return draw(odd if draw(st.integers(0, 49)) == 25 else usual)

    def part(usual, odd):
        return mostly(st.just(""), st.text(" \t\n\r", max_size=2)) + mostly(usual, odd)

    members = {
        '"type"': part(st.sampled_from([f'"{kind}"' for kind in KINDS]), odd_kinds | anything),
        '"t"': part(numbers, odd_numbers | anything),
        '"m"': part(numbers | st.just("null"), odd_numbers | anything),
        '"msg"': part(texts | st.just("null"), odd_texts | anything),
        '"source"': part(texts | numbers | words, anything),
        '"é"': part(texts | numbers | words, anything),
    }
    names = draw(st.permutations(list(members)))[mostly(st.just(0), st.integers(0, 6)) :]
    colons, commas = st.sampled_from([":", ": ", ":\n"]), st.sampled_from([",", ", ", " ,"])
    told = [
        part(st.just(name), odd_names) + part(colons, st.sampled_from(["", "::", "="])) + members[name]
        for name in names
    ]
    if told:
        told[1:] = [part(commas, st.sampled_from([",,", "", ";"])) + member for member in told[1:]]
    start = part(st.just("{"), st.sampled_from(["", "[", "{{", "{,", "\ufeff{"]))
    return (
        start
        + "".join(told)
        + part(st.just("}"), st.sampled_from(["", "]", "}}", ",}", "}x", "}\0", "} \n"]))
    )


@settings(max_examples=500, deadline=None)
@given(nearly_tweets().map(str.encode))
@example(b'{"type":"tweet","t":-0}')
@example(b'{"type":"tweet","t":-0.0,"m":-0}')
@example(b'{"type":"tweet","t":9007199254740992}')
@example(b'{"type":"tweet","t":9007199254740993}')
@example(b'{"type":"tweet","t":4503599627370497.5,"m":4503599627370496.51}')
@example(b'{"type":"tweet","t":999999999999999999,"m":0.99999999999999999}')
@example(b'{"type":"tweet","t":0.000000000000000001}')
@example(b'{"type":"tweet","t":123456789012345678}')
@example(b'{"type":"tweet","t":01}')
@example(b'{"type":"tweet","t":1.}')
@example(b'{"type":"tweet","t":-}')
@example(b'{"type":"tweet","t":1,}')
@example(b'{"type":"tweet","t":1}}')
@example(b'{"type":"tweet","t":1,"x":"a\nb"}')
@example(b'\xef\xbb\xbf{"type":"tweet","t":1}')
def test_what_is_taken_means_what_the_strict_decoder_says(value):
    assert_taken_as_decoded(value)


plain = st.text(max_size=12).map(lambda text: "".join(c for c in text if c >= " " and c not in '"\\'))
#: Doubles as programs write them: up to 17 digits, an exponent where they are very large or small.
doubles = st.floats(0, 1e16).filter(lambda x: "e" not in repr(x)) | st.floats(1e-4, 1e4)
tweets = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS), "t": st.integers(0, 10**18 - 1) | doubles},
    optional={
        "m": st.none() | st.integers(0, 10**15) | st.integers(0, 10**9).map(lambda i: i / 100) | doubles,
        "msg": st.none() | plain,
        "source": plain | st.integers(-(10**17), 10**17),
        "é 😀": st.none() | st.booleans(),
    },
)


@settings(max_examples=200, deadline=None)
@given(tweets, st.sampled_from([None, 0, 3]), st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", "\n:\r")]))
def test_usual_tweets_are_taken(tweet, indent, separators):
    assume(all(sum(c.isdigit() for c in repr(tweet.get(name))) <= 18 for name in ("t", "m")))
    value = json.dumps(tweet, ensure_ascii=False, indent=indent, separators=separators).encode()
    [found] = scanned(value, max_bytes=1000)
    assert found is not None
    decoded = STRICT.decode(value)
    assert meaning(*found) == meaning(decoded.type, decoded.t, decoded.m, decoded.msg)


@settings(max_examples=500, deadline=None)
@given(
    nearly_tweets().map(str.encode),
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 255) | st.sampled_from(b'{}",:\\ 0.-e')), max_size=3
    ),
    st.integers(0, 250),
)  # fmt: skip
def test_mutated_bytes_that_are_taken_are_valid(value, changes, length):
    changed = bytearray(value)
    for at, byte in changes:
        if at < len(changed):
            changed[at] = byte
    value = bytes(changed[:length])
    assume(is_utf8(value))
    assert_taken_as_decoded(value)


@settings(max_examples=300, deadline=None)
@given(halfway, st.booleans())
def test_numbers_between_two_doubles_are_rounded_as_python_does(number, negative):
    number = "-" + number if negative else number
    [found] = scanned(f'{{"type":"tweet","t":{number}}}'.encode())
    assert found[1] == float(number)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30).map(str.encode))
def test_text_that_is_no_tweet_is_left(value):
    assert scanned(value) == [None]


TAKEN = {
    "the generator's": '{"type":"tweet","msg":"a","t":12.5,"m":9.0,"source":"s","info":"cascade=c"}',
    "with Python's spaces": '{"type": "retweet", "msg": null, "t": 1.25, "m": 3}',
    "indented": '{\n\t"type": "retweet",\r\n\t"t": 1,\n\t"m": 3\n}\n',
    "with text that is not ASCII": '{"type":"tweet","msg":"é😀\u202e\x7f","t":0,"m":0}',
    "with an empty text": '{"type":"tweet","msg":"","t":0,"m":0}',
    "a tick": '{"type":"tick","t":1700000000}',
    "with the time in microseconds": '{"type":"retweet","t":1700000000.123456,"m":20}',
    "with 17 digits": '{"type":"retweet","t":1234.5678901234567,"m":0.12345678901234567}',
    "with 18 digits": '{"type":"retweet","t":1234.56789012345678,"m":900719925474099300}',
    "between two doubles": '{"type":"retweet","t":9007199254740993,"m":90071992547409.930}',
    "with unknown fields": '{"a":1,"b":true,"c":false,"d":null,"e":"x","a":2,"type":"retweet","t":1,"m":2}',
    "negative": '{"type":"retweet","t":-1.5,"m":-2}',
}


@pytest.mark.parametrize("value", TAKEN.values(), ids=TAKEN.keys())
def test_usual_forms_are_taken(value):
    assert assert_taken_as_decoded(value.encode()) is not None


LEFT = {
    "an escape in the text": r'{"type":"tweet","msg":"a\nb","t":1,"m":1}',
    "an escape in a name": r'{"\u0074ype":"tweet","t":1,"m":1}',
    "an escape in an unknown field": r'{"type":"tweet","t":1,"m":1,"x":"\""}',
    "an exponent": '{"type":"tweet","t":1e3,"m":1}',
    "a large exponent": '{"type":"tweet","t":1,"m":1.5E+2}',
    "19 digits": '{"type":"tweet","t":1234567890123456789,"m":1}',
    "19 digits with a point": '{"type":"tweet","t":12345678.90123456789,"m":1}',
    "minus zero": '{"type":"tweet","t":-0,"m":1}',
    "t twice": '{"type":"tweet","t":1,"t":2,"m":1}',
    "type twice": '{"type":"tweet","type":"tweet","t":1}',
    "m twice, once null": '{"type":"tweet","t":1,"m":null,"m":1}',
    "msg twice": '{"type":"tweet","t":1,"m":1,"msg":"a","msg":null}',
    "a list": '{"type":"tweet","t":1,"m":1,"x":[]}',
    "an object": '{"type":"tweet","t":1,"m":1,"x":{"a":1}}',
}
BAD = {
    "nothing": "",
    "no object": '"tweet"',
    "an empty object": "{}",
    "no type": '{"t":1}',
    "no time": '{"type":"tweet"}',
    "another type": '{"type":"like","t":1}',
    "a type that goes on": '{"type":"tweets","t":1}',
    "type null": '{"type":null,"t":1}',
    "time null": '{"type":"tweet","t":null}',
    "time as text": '{"type":"tweet","t":"1"}',
    "mark as text": '{"type":"tweet","t":1,"m":"1"}',
    "mark true": '{"type":"tweet","t":1,"m":true}',
    "text as number": '{"type":"tweet","t":1,"msg":1}',
    "a leading zero": '{"type":"tweet","t":01}',
    "a plus": '{"type":"tweet","t":+1}',
    "no digit before the point": '{"type":"tweet","t":.5}',
    "no digit after the point": '{"type":"tweet","t":5.}',
    "a lone minus": '{"type":"tweet","t":-}',
    "not a number": '{"type":"tweet","t":NaN}',
    "hexadecimal": '{"type":"tweet","t":0x1}',
    "a comma at the end": '{"type":"tweet","t":1,}',
    "a comma at the start": '{,"type":"tweet","t":1}',
    "no comma": '{"type":"tweet" "t":1}',
    "no colon": '{"type" "tweet","t":1}',
    "no end": '{"type":"tweet","t":1',
    "two objects": '{"type":"tweet","t":1}{"type":"tweet","t":1}',
    "a line break in a text": '{"type":"tweet","t":1,"msg":"a\nb"}',
    "a zero byte": '{"type":"tweet","t":1}\0',
    "single quotes": "{'type':'tweet','t':1}",
    "a comment": '{"type":"tweet","t":1/**/}',
    "a blank that JSON has not": '{"type":"tweet",\u00a0"t":1}',
    "a word cut short": '{"type":"tweet","t":1,"x":tru}',
}  # fmt: skip


@pytest.mark.parametrize("value", LEFT.values(), ids=LEFT.keys())
def test_what_is_not_plain_is_left_to_the_strict_reader(value):
    msgspec.json.decode(value)
    assert scanned(value.encode()) == [None]


@pytest.mark.parametrize("value", BAD.values(), ids=BAD.keys())
def test_what_is_invalid_is_left_to_the_strict_reader(value):
    with pytest.raises(msgspec.DecodeError):
        STRICT.decode(value)
    assert scanned(value.encode()) == [None]


def test_a_value_is_read_within_its_bounds():
    values = [value.encode() for value in [*TAKEN.values(), *BAD.values(), *LEFT.values()]]
    assert readable(scanned(*values)) == readable(scanned(value)[0] for value in values)
    whole = next(iter(TAKEN.values())).encode()
    cut = [whole[:n] for n in range(len(whole))]
    assert readable(scanned(*cut, whole)) == [None] * len(cut) + readable(scanned(whole))
    # What follows the value in memory would complete it.
    assert scanned(whole[:-1], b"}") == scanned(whole[:20], whole[20:]) == [None, None]


def test_the_longest_value_is_taken_and_one_byte_more_left():
    value = next(iter(TAKEN.values())).encode()
    assert scanned(value, value + b" ", max_bytes=len(value)) == [*scanned(value), None]


def test_a_slice_of_a_column_is_read_as_itself():
    value = next(iter(TAKEN.values())).encode()
    offsets, data = binary_parts(pa.array([b"x" * 9, value, b"}"], pa.binary()).slice(1, 1))
    assert scan(offsets, data, LONGEST).taken.tolist() == [True]
