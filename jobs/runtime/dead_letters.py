"""Dead letters of the plain processes; fields and reasons are those of the Spark jobs' letters."""

from __future__ import annotations

import msgspec

from udfs.letters import MAX_LETTER_BYTES, REASONS, Letter

#: Characters kept of a detail.
MAX_DETAIL = 300

_encoder = msgspec.json.Encoder()


def dead_letter(
    reason: str,
    detail: str,
    value: bytes | None,
    *,
    key: bytes | None,
    topic: str,
    partition: int,
    offset: int,
) -> bytes:
    """Return the value of a dead letter: what could not be used, why, and where it lay.

    Raises ``ValueError`` for a reason that is none of ``REASONS``: reasons are metric labels.

    >>> letter = dead_letter("bad_json", "cut off", b"{", key=b"a", topic="stats", partition=0, offset=7)
    >>> msgspec.json.decode(letter)["value"], letter[:54]
    ('ew==', b'{"type":"dead_letter","cid":"a","reason":"bad_json","d')

    """
    if reason not in REASONS:
        raise ValueError(f"{reason} is none of {REASONS}")
    cid = None if key is None else key[:512].decode("utf-8", "replace")
    kept = None if value is None else value[:MAX_LETTER_BYTES]
    return _encoder.encode(Letter(cid, reason, detail[:MAX_DETAIL], topic, partition, offset, kept))
