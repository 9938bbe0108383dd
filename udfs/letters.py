"""Dead letters: what could not be used, with the reason and the place it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import pyarrow as pa

from udfs.json_rows import Rejected

#: Every reason there is; they are metric labels, so their number is bounded here.
REASONS = (
    "bad_json",
    "bad_field",
    "bad_key",
    "too_large",
    "orphan",
    "late",
    "repeated_root",
)
#: Bytes kept of a value that is too large to be sent on.
MAX_LETTER_BYTES = 65_536
#: Records of the topic ``dead_letters``.
LETTERS = pa.schema([("key", pa.binary()), ("value", pa.binary())])


class Letter(msgspec.Struct, tag="dead_letter"):
    """The value of one record of the topic; ``value`` is base64 in JSON."""

    cid: str | None
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    value: bytes | None


def encode_letters(letters: Iterable[Letter]) -> pa.BinaryArray:
    """Return each letter as JSON, encoded by one call."""
    lines = msgspec.json.Encoder().encode_lines(letters)
    return pa.array(lines.split(b"\n")[:-1], pa.binary())


def letters_of_records(records: pa.RecordBatch, rejected: Rejected, topic: str) -> pa.RecordBatch:
    """Return the letters, of schema LETTERS, for the rejected rows of a batch of Kafka records."""
    rows = pa.array(rejected.rows, pa.int64())
    keys, values, partition, offset = (
        records[name].take(rows) for name in ("key", "value", "partition", "offset")
    )
    letters = map(
        Letter,
        map(_readable, keys.to_pylist()),
        rejected.reasons,
        rejected.details,
        [topic] * len(rows),
        partition.to_pylist(),
        offset.to_pylist(),
        (value and value[:MAX_LETTER_BYTES] for value in values.to_pylist()),
    )
    return letter_batch(keys, list(letters))


def letter_batch(keys: pa.BinaryArray, letters: Sequence[Letter]) -> pa.RecordBatch:
    """Return records of schema LETTERS."""
    return pa.RecordBatch.from_arrays([keys, encode_letters(letters)], schema=LETTERS)


def _readable(key: bytes | None) -> str | None:
    return None if key is None else key[:512].decode("utf-8", "replace")
