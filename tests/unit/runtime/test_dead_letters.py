import base64
import json

import pytest

from jobs.runtime.dead_letters import MAX_DETAIL, dead_letter
from udfs.letters import MAX_LETTER_BYTES

PLACE = {"topic": "stats", "partition": 2, "offset": 5}


def test_letter_says_what_why_and_where():
    letter = dead_letter("bad_field", "no n_tot", b"\xff{}", key="é".encode(), **PLACE)
    assert json.loads(letter) == {
        "type": "dead_letter",
        "reason": "bad_field",
        "detail": "no n_tot",
        "cid": "é",
        "value": base64.b64encode(b"\xff{}").decode(),
        **PLACE,
    }


def test_letter_is_bounded_and_takes_what_is_no_utf8():
    letter = json.loads(dead_letter("too_large", "d" * 9999, b"v" * 9_000_000, key=b"\xff" * 9999, **PLACE))
    assert len(letter["detail"]) == MAX_DETAIL
    assert len(letter["cid"]) == 512
    assert base64.b64decode(letter["value"]) == b"v" * MAX_LETTER_BYTES


def test_tombstone_without_a_key_has_neither():
    letter = json.loads(dead_letter("bad_json", "", None, key=None, **PLACE))
    assert (letter["cid"], letter["value"]) == (None, None)


def test_unknown_reason_is_an_error():
    with pytest.raises(ValueError, match="none of"):
        dead_letter("because", "", b"", key=None, **PLACE)
