"""Values of the topic ``tweets`` as columns: scanned where they are as usual, read strictly where not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from udfs.cascades.rules import Rules
from udfs.cascades.scan import KINDS, Scanned, is_ascii, scan
from udfs.cascades.table import gather
from udfs.json_rows import JsonRows, Rejected, binary_parts
from udfs.ragged import Floats, Ints

ROOT = KINDS.index("tweet")


class Tweet(msgspec.Struct):
    """The part of a tweet, retweet or tick that decides; its id is the record's key."""

    type: Literal["tweet", "retweet", "tick"]
    t: float
    m: float | None = None
    msg: str | None = None


@dataclass(frozen=True)
class Tweets:
    """Values that could be read, n of them."""

    place: Ints
    """Place of each in the batch, rising."""
    kind: NDArray[np.int8]
    """Place in `udfs.cascades.scan.KINDS`."""
    t: Floats
    m: Floats
    """NaN where absent."""
    msg: pa.LargeStringArray
    """Null where absent, and of all but tweets: nothing reads the text of a retweet."""


def read_tweets(values: pa.BinaryArray, rules: Rules) -> tuple[Tweets, Rejected]:
    """Read a batch of values; those that are no tweet are rejected with their reason."""
    if not is_utf8(values):
        return _strictly(values, np.arange(len(values)), rules)
    offsets, data = binary_parts(values)
    scanned = scan(offsets, data, rules.max_value_bytes)
    if scanned.taken.all():
        return _scanned(scanned, np.arange(len(values)), data), Rejected()
    rest, rejected = _strictly(values, np.flatnonzero(~scanned.taken), rules)
    return _merged(_scanned(scanned, np.flatnonzero(scanned.taken), data), rest), rejected


def is_utf8(values: pa.BinaryArray) -> bool:
    """Tell whether every value is UTF-8."""
    offsets, data = binary_parts(values)
    if is_ascii(data[offsets[0] : offsets[-1]]):
        return True
    try:
        values.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _scanned(scanned: Scanned, rows: Ints, data: NDArray[np.uint8]) -> Tweets:
    start = np.where(scanned.kind[rows] == ROOT, scanned.msg_start[rows], -1)
    stop = np.where(start < 0, -1, scanned.msg_stop[rows])
    offsets, text = gather(start, stop, data)
    valid = pa.py_buffer(np.packbits(start >= 0, bitorder="little"))
    msg = pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(text), valid)
    return Tweets(rows, scanned.kind[rows], scanned.t[rows], scanned.m[rows], msg)


def _strictly(values: pa.BinaryArray, rows: Ints, rules: Rules) -> tuple[Tweets, Rejected]:
    schema = pa.schema(
        [("type", pa.string()), ("t", pa.float64()), ("m", pa.float64()), ("msg", pa.string())]
    )
    reader = JsonRows(Tweet, schema, ("type", "t"), {"type": KINDS}, rules.max_value_bytes)
    picked = values if len(rows) == len(values) else values.take(pa.array(rows))
    table, places, rejected = reader.read(picked)
    rejected.rows = rows[rejected.rows].tolist()
    kind = pc.index_in(table["type"], pa.array(KINDS)).to_numpy().astype(np.int8)
    m = pc.fill_null(table["m"], float("nan")).to_numpy()
    nothing = pa.scalar(None, pa.large_string())
    msg = pc.if_else(pa.array(kind == ROOT), table["msg"].combine_chunks().cast(pa.large_string()), nothing)
    return Tweets(rows[places], kind, table["t"].to_numpy(), m, msg), rejected


def _merged(a: Tweets, b: Tweets) -> Tweets:
    order = np.argsort(np.concatenate([a.place, b.place]), kind="stable")

    def both(name: str) -> NDArray[Any]:
        merged: NDArray[Any] = np.concatenate([getattr(a, name), getattr(b, name)])[order]
        return merged

    msg = pa.concat_arrays([a.msg, b.msg]).take(pa.array(order))
    return Tweets(both("place"), both("kind"), both("t"), both("m"), msg)
