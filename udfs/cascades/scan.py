"""The usual tweet, scanned from its JSON in compiled code.

The scanner takes a value only if it is surely right and its meaning plain: one flat object, every string
without escapes, every number exact in double arithmetic, no key twice. Whatever else comes is left to the
strict reader (`udfs.json_rows`), which decides; so the scanner has no opinion of its own on what is valid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from udfs.cascades.ids import Bytes
from udfs.ragged import Floats, Ints

#: Codes of the field ``type``, in the order of its texts.
KINDS = ("tweet", "retweet", "tick")

_QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS, _PLUS, _DOT, _ZERO, _NINE = b'"\\,:-+.09'
_OPEN, _CLOSE, _SPACE, _TAB, _LINE, _RETURN, _SMALL_E, _BIG_E = b"{} \t\n\reE"
#: Whole numbers up to 2^53 and these powers of ten are exact in a double, so their quotient is the nearest
#: one (Clinger 1990, "How to read floating point numbers accurately", the fast path).
_LARGEST = 1 << 53
#: One more than tells a double from its neighbours; eight times a number of so many digits fits in 64 bits.
_DIGITS = 18
_POWERS = np.array([10**k for k in range(_DIGITS + 1)])
_WORDS = np.frombuffer(b"truefalsenull", np.uint8)
#: Bytes at which the plain part of a string ends: its quote, an escape, and those that JSON does not allow.
_ENDS_TEXT = np.array([byte < _SPACE or byte in {_QUOTE, _BACKSLASH} for byte in range(256)])
_TYPE, _T, _M, _MSG, _OTHER = range(5)
_NAMES = np.frombuffer(b"typetmmsg", np.uint8)
_TYPES = np.frombuffer(b"tweetretweettick", np.uint8)


class Scanned(NamedTuple):
    """What was read of each value, shape (n,) each; meaningless where not ``taken``."""

    taken: NDArray[np.bool_]
    kind: NDArray[np.int8]
    """Place in KINDS."""
    t: Floats
    m: Floats
    """NaN where absent."""
    msg_start: Ints
    msg_stop: Ints
    """The text is ``data[msg_start:msg_stop]``; start is -1 where absent."""


@njit(cache=True)
def scan(offsets: Ints, data: Bytes, max_bytes: int) -> Scanned:
    """Scan values, the bytes ``data[offsets[i]:offsets[i + 1]]``, of valid UTF-8 (the caller's promise)."""
    n = len(offsets) - 1
    out = Scanned(
        np.zeros(n, np.bool_), np.zeros(n, np.int8), np.zeros(n), np.full(n, np.nan),
        np.full(n, -1, np.int64), np.full(n, -1, np.int64),
    )  # fmt: skip
    for i in range(n):
        if offsets[i + 1] - offsets[i] <= max_bytes:
            out.taken[i] = _object(data, offsets[i], offsets[i + 1], out, i)
    return out


@njit(cache=True)
def is_ascii(data: Bytes) -> bool:
    """Tell whether no byte is above 127: then it is UTF-8 too."""
    every = np.uint8(0)
    for byte in data:
        every |= byte
    return bool(every < 128)


@njit(cache=True)
def _object(data: Bytes, at: int, stop: int, out: Scanned, i: int) -> bool:
    at = _blank(data, at, stop)
    if at >= stop or data[at] != _OPEN:
        return False
    seen = 0
    at = _blank(data, at + 1, stop)
    while True:
        end = _string(data, at, stop)
        if end < 0:
            return False
        field = _field(data, at + 1, end - 1)
        at = _blank(data, end, stop)
        if at >= stop or data[at] != _COLON or (field != _OTHER and seen >> field & 1):
            return False
        seen |= 1 << field
        at = _value(data, _blank(data, at + 1, stop), stop, field, out, i)
        if at < 0:
            return False
        at = _blank(data, at, stop)
        if at >= stop:
            return False
        if data[at] == _COMMA:
            at = _blank(data, at + 1, stop)
            continue
        whole = data[at] == _CLOSE and _blank(data, at + 1, stop) == stop
        return whole and (seen & 0b11) == 0b11


@njit(cache=True)
def _value(data: Bytes, at: int, stop: int, field: int, out: Scanned, i: int) -> int:
    """Read a value; return the place after it, or -1 to leave the row to the strict reader."""
    if at >= stop:
        return -1
    if data[at] == _QUOTE:
        end = _string(data, at, stop)
        if end < 0 or field in (_T, _M):
            return -1
        if field == _TYPE:
            kind = _kind(data, at + 1, end - 1)
            out.kind[i] = kind
            return end if kind >= 0 else -1
        if field == _MSG:
            out.msg_start[i], out.msg_stop[i] = at + 1, end - 1
        return end
    if data[at] == _MINUS or _ZERO <= data[at] <= _NINE:
        end, number = _number(data, at, stop)
        if end < 0 or field in (_TYPE, _MSG):
            return -1
        if field == _T:
            out.t[i] = number
        elif field == _M:
            out.m[i] = number
        return end
    for start, length in ((0, 4), (4, 5), (9, 4)):
        if at + length <= stop and _is(data, at, at + length, _WORDS, start, length):
            return at + length if field == _OTHER or (start == 9 and field in (_M, _MSG)) else -1
    return -1


@njit(cache=True)
def _blank(data: Bytes, at: int, stop: int) -> int:
    while at < stop and (data[at] == _SPACE or data[at] == _LINE or data[at] == _TAB or data[at] == _RETURN):
        at += 1
    return at


@njit(cache=True)
def _string(data: Bytes, at: int, stop: int) -> int:
    """Return the place after the string that begins at ``at``; -1 for none, or one with escapes."""
    if at >= stop or data[at] != _QUOTE:
        return -1
    at += 1
    # An unsigned index spares the question whether it counts from the end.
    while at < stop and not _ENDS_TEXT[data[np.uintp(at)]]:
        at += 1
    return at + 1 if at < stop and data[at] == _QUOTE else -1


@njit(cache=True)
def _number(data: Bytes, at: int, stop: int) -> tuple[int, float]:
    """Return the place after the number and the number; -1 where it is malformed or not surely exact."""
    negative = data[at] == _MINUS
    if negative:
        at += 1
    first, whole, exponent = at, np.int64(0), 0
    while at < stop and _ZERO <= data[at] <= _NINE and at - first < _DIGITS:
        whole = whole * 10 + (np.int64(data[at]) - _ZERO)
        at += 1
    if at == first or (data[first] == _ZERO and at - first > 1):
        return -1, 0.0
    digits = at - first
    if at < stop and data[at] == _DOT:
        first = at = at + 1
        while at < stop and _ZERO <= data[at] <= _NINE and digits + at - first < _DIGITS:
            whole = whole * 10 + (np.int64(data[at]) - _ZERO)
            at += 1
        if at == first:
            return -1, 0.0
        exponent = first - at
    if at < stop and (_ZERO <= data[at] <= _NINE or data[at] == _SMALL_E or data[at] == _BIG_E):
        return -1, 0.0
    # Whether -0 is the whole number 0 is not for us to say.
    if negative and whole == 0:
        return -1, 0.0
    number = _quotient(whole, _POWERS[-exponent])
    return at, -number if negative else number


@njit(cache=True)
def _quotient(whole: np.int64, power: np.int64) -> float:
    """Return the double nearest to ``whole / power``."""
    if whole <= _LARGEST:
        return np.float64(whole) / np.float64(power)
    # Long division, three bits a step, to two bits more than a double has; the last says whether more follow.
    quotient, rest, scale = whole // power, whole % power, 1.0
    while quotient < 4 * _LARGEST:
        quotient, rest, scale = 8 * quotient + 8 * rest // power, 8 * rest % power, scale / 8
    if rest > 0:
        quotient |= 1
    return np.float64(quotient) * scale


@njit(cache=True)
def _is(data: Bytes, start: int, stop: int, word: Bytes, at: int, length: int) -> bool:
    if stop - start != length:
        return False
    for i in range(length):
        if data[start + i] != word[at + i]:
            return False
    return True


@njit(cache=True)
def _field(data: Bytes, start: int, stop: int) -> int:
    for field, at, length in ((_TYPE, 0, 4), (_T, 4, 1), (_M, 5, 1), (_MSG, 6, 3)):
        if _is(data, start, stop, _NAMES, at, length):
            return field
    return _OTHER


@njit(cache=True)
def _kind(data: Bytes, start: int, stop: int) -> int:
    for kind, at, length in ((0, 0, 5), (1, 5, 7), (2, 12, 4)):
        if _is(data, start, stop, _TYPES, at, length):
            return kind
    return -1
