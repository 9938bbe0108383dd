import base64
import json

import pyarrow as pa

from udfs.json_rows import Rejected
from udfs.letters import LETTERS, MAX_LETTER_BYTES, Letter, letter_batch, letters_of_records


def kafka(rows):
    keys, values = zip(*rows, strict=True)
    return pa.RecordBatch.from_pydict(
        {
            "key": pa.array(keys, pa.binary()),
            "value": pa.array(values, pa.binary()),
            "partition": pa.array([3] * len(rows), pa.int32()),
            "offset": pa.array(range(70, 70 + len(rows)), pa.int64()),
        }
    )


def letters(rows, *rejections):
    rejected = Rejected()
    for row, reason in rejections:
        rejected.add(row, reason, f"detail of {row}")
    batch = letters_of_records(kafka(rows), rejected, "prefix.tweets")
    assert batch.schema == LETTERS
    return batch["key"].to_pylist(), [json.loads(value) for value in batch["value"].to_pylist()]


def test_a_letter_names_the_place_and_holds_the_bytes():
    value = bytes(range(256))
    keys, [letter] = letters([(b"a", b"good"), (b"b", value)], (1, "bad_json"))
    assert keys == [b"b"]
    assert base64.b64decode(letter.pop("value"), validate=True) == value
    assert letter == {
        "type": "dead_letter",
        "cid": "b",
        "reason": "bad_json",
        "detail": "detail of 1",
        "topic": "prefix.tweets",
        "partition": 3,
        "offset": 71,
    }


def test_letters_keep_the_order_of_the_rejections():
    _, found = letters([(b"a", b"0"), (b"b", b"1"), (b"c", b"2")], (2, "bad_key"), (0, "too_large"))
    assert [(letter["offset"], letter["reason"]) for letter in found] == [(72, "bad_key"), (70, "too_large")]


def test_null_and_empty_are_told_apart():
    keys, found = letters([(None, None), (b"", b"")], (0, "bad_json"), (1, "bad_json"))
    assert keys == [None, b""]
    assert [(letter["cid"], letter["value"]) for letter in found] == [(None, None), ("", "")]


def test_a_large_value_is_cut_and_a_key_that_is_no_text_stays_readable():
    keys, [letter] = letters([(b"\xff" * 600, b"y" * (MAX_LETTER_BYTES + 1))], (0, "too_large"))
    assert keys == [b"\xff" * 600]
    assert letter["cid"] == "\ufffd" * 512
    assert base64.b64decode(letter["value"]) == b"y" * MAX_LETTER_BYTES


def test_details_with_line_breaks_stay_one_letter():
    batch = letter_batch(
        pa.array([b"a", b"b"], pa.binary()),
        [Letter("a", "bad_json", 'one\n"two"\r', "t", 0, 1, b"\n"), Letter("b", "late", "", "t", 0, 2, None)],
    )
    assert [json.loads(value)["detail"] for value in batch["value"].to_pylist()] == ['one\n"two"\r', ""]


def test_nothing_rejected_gives_no_letters():
    assert letters([(b"a", b"0")]) == ([], [])
