"""Bad tweets on real Kafka: each becomes a dead letter with its bytes, and harms no neighbour."""

from __future__ import annotations

import base64
import json

import pytest

from jobs.collect import start
from jobs.runtime.topics import CASCADE_PROPERTIES, CASCADE_SERIES, DEAD_LETTERS, TWEETS, topic_name
from tests.kafka.records import read, run_to_end, send, values, with_batches
from udfs.letters import MAX_LETTER_BYTES, REASONS


def tweet(t=5.0, m=1.0, kind="retweet", **fields):
    return json.dumps(
        {"type": kind, "msg": None, "t": t, "m": m, "source": "s", "info": "i"} | fields
    ).encode()


def raw(t=b"5", m=b"1"):
    return b'{"type":"retweet","t":' + t + b',"m":' + m + b"}"


KEY = b"bad"
#: What is wrong, key, value, and the reason told.
BAD = [
    ("no JSON", KEY, b"\xff\x00 nonsense", "bad_json"),
    ("an empty value", KEY, b"", "bad_json"),
    ("a tombstone", KEY, None, "bad_json"),
    ("half an object", KEY, tweet()[:-7], "bad_json"),
    ("two objects", KEY, tweet() + tweet(), "bad_json"),
    ("two objects on two lines", KEY, tweet() + b"\n" + tweet(), "bad_json"),
    ("an object and a zero byte", KEY, tweet() + b"\0}", "bad_json"),
    ("a raw line break in a text", KEY, b'{"type":"retweet","t":5,"m":1,"msg":"a\nb"}', "bad_json"),
    ("a text that is no UTF-8", KEY, b'{"type":"retweet","t":5,"m":1,"msg":"\xe9"}', "bad_json"),
    ("half a surrogate pair", KEY, b'{"type":"retweet","t":5,"m":1,"msg":"\\ud83d"}', "bad_json"),
    ("NaN", KEY, raw(t=b"NaN"), "bad_json"),
    ("NaN as a mark", KEY, raw(m=b"NaN"), "bad_json"),
    ("infinity", KEY, raw(m=b"Infinity"), "bad_json"),
    ("infinity by its exponent", KEY, raw(t=b"1e999"), "bad_field"),
    ("an infinite mark by its exponent", KEY, raw(m=b"1e999"), "bad_field"),
    ("an array", KEY, b"[" + tweet() + b"]", "bad_field"),
    ("a number", KEY, b"5", "bad_field"),
    ("null", KEY, b"null", "bad_field"),
    ("no t", KEY, b'{"type":"retweet","m":1}', "bad_field"),
    ("no m", KEY, b'{"type":"retweet","t":5}', "bad_field"),
    ("no type", KEY, b'{"t":5,"m":1}', "bad_field"),
    ("another type", KEY, tweet(kind="like"), "bad_field"),
    ("t as a text", KEY, raw(t=b'"5"'), "bad_field"),
    ("t null", KEY, raw(t=b"null"), "bad_field"),
    ("m null", KEY, raw(m=b"null"), "bad_field"),
    ("a negative mark", KEY, tweet(m=-1), "bad_field"),
    ("a negative time", KEY, tweet(t=-1), "bad_field"),
    ("a time after all times", KEY, tweet(t=1e300), "bad_field"),
    ("a tick after all times", None, b'{"type":"tick","t":1e18}', "bad_field"),
    ("a text that is a list", KEY, tweet(msg=["a"]), "bad_field"),
    ("a null key", None, tweet(), "bad_key"),
    ("an empty key", b"", tweet(), "bad_key"),
    ("a key of 513 bytes", b"k" * 513, tweet(), "bad_key"),
    ("a key that is no UTF-8", b"\xff\xfe", tweet(), "bad_key"),
    ("a value that is too large", KEY, tweet(msg="x" * 70_000), "too_large"),
    ("a very large value", KEY, tweet(msg="x" * 900_000), "too_large"),
]


def good_cascade():
    """A cascade's 40 events, among them values that look bad and are not."""
    events = [tweet(100.0, 7.0, "tweet", msg="text")]
    events += [tweet(100.0 + i, float(i)) for i in range(1, 36)]
    events.append(b'\n{"type": "retweet",\r\n "t": 136, "m": 36}\n')
    events.append(b'{"type":"retweet","t":137,"m":37,"msg":"\\ud83d\\ude00\\n\\u0000"}')
    events.append(b'{"type":"retweet","t":138,"t":138,"m":38}')
    events.append(b'{"type":"retweet","t":139,"m":39,"unknown":{"deep":[[[{}]]]}}')
    return events


@pytest.fixture(scope="module")
def settings(spark, module_kafka_settings):
    """Good and bad values mixed in one partition, read in one micro-batch, all of it collected."""
    settings = with_batches(module_kafka_settings, 10_000)
    good, mixed = good_cascade(), []
    for i in range(max(len(good), len(BAD))):
        mixed += [(b"good", value, 1) for value in good[i : i + 1]]
        mixed += [(key, value, 1) for _, key, value, _ in BAD[i : i + 1]]
    mixed.append((None, b'{"type":"tick","t":90000}', 1))
    send(settings, TWEETS, mixed)
    run_to_end(start(spark, settings))
    return settings


@pytest.fixture(scope="module")
def places(settings):
    """Offsets by key and value."""
    return {(record.key(), record.value()): record.offset() for record in read(settings, TWEETS)}


@pytest.fixture(scope="module")
def letters(settings):
    """Letters by the offset of what they are about."""
    found = values(settings, DEAD_LETTERS)
    assert len(found) == len({letter["offset"] for letter in found})
    return {letter["offset"]: letter for letter in found}


@pytest.mark.parametrize(("what", "key", "value", "reason"), BAD, ids=[what for what, *_ in BAD])
def test_a_bad_value_becomes_a_letter_with_its_reason_and_bytes(
    settings, places, letters, what, key, value, reason
):
    letter = letters[places[key, value]]
    assert (letter["type"], letter["reason"]) == ("dead_letter", reason), letter["detail"]
    assert (letter["topic"], letter["partition"]) == (topic_name(settings, TWEETS), 1)
    kept = None if letter["value"] is None else base64.b64decode(letter["value"], validate=True)
    assert kept == (value and value[:MAX_LETTER_BYTES])
    assert letter["cid"] == (None if key is None else key[:512].decode(errors="replace"))
    assert letter["detail"]
    assert reason in REASONS


def test_nothing_else_becomes_a_letter(letters):
    assert len(letters) == len(BAD)


def test_good_neighbours_in_the_same_batch_are_unharmed(settings):
    partials = {value["T_obs"]: value for value in values(settings, CASCADE_SERIES)}
    assert set(partials) == {600, 1200}
    for partial in partials.values():
        assert partial["cid"] == "good"
        assert partial["msg"] == "text"
        assert partial["tweets"] == [[0, 7]] + [[i, i] for i in range(1, 40)]
    assert {value["n_tot"] for value in values(settings, CASCADE_PROPERTIES)} == {40}


def test_letters_bear_the_key_of_what_they_are_about(settings):
    kept = {record.key() for record in read(settings, DEAD_LETTERS)}
    assert kept == {key for _, key, _, _ in BAD}
