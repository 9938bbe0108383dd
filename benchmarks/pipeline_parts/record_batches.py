"""Kafka record batches made ahead of time, so that sending them costs next to nothing.

Version 2 of Kafka's message format: records of varint fields, compressed as one LZ4 frame, after a CRC-32C.
The topic's timestamps are the broker's (``LogAppendTime``), so the batches carry none.
"""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from benchmarks.pipeline_parts.stream import Events, Ints

Bytes = NDArray[np.uint8]

#: Most bytes that one record of ours takes; the text and the other constants are 200.
RECORD_BYTES = 400
TEXT = "A text as long as many posts are: some 100 characters, nothing in particular, without any hurry."
_SOURCES = 5
_LZ4 = pa.Codec("lz4_raw")
#: Head of a frame of independent blocks of 64 KB at most, which Kafka's reader asks for, and its checksum.
_FRAME = bytes.fromhex("04224d18604082")
_BLOCK = 1 << 16
_WITH_LZ4 = 3


def _constant(text: str) -> Bytes:
    return np.frombuffer(text.encode(), np.uint8)


_ROOT = _constant(f'{{"type":"tweet","msg":"{TEXT}","t":')
_RETWEET = _constant('{"type":"retweet","msg":null,"t":')
_MARK = _constant(',"m":')
_SOURCE = _constant(',"source":"source-')
_INFO = _constant('","info":"cascade=c')
_END = _constant('"}')
#: One header, schema = 1: the count, then lengths as zigzag varints.
_HEADERS = np.frombuffer(b"\x02\x0cschema\x021", np.uint8)


def encoded(events: Events) -> tuple[bytes, int]:
    """Return the record batch of some events, and the bytes of its values and keys before compression."""
    room = np.empty(len(events) * RECORD_BYTES, np.uint8)
    size = _records(room, events.event_ms, events.cascade, events.mark, events.is_root)
    body = _frame(room[:size].tobytes())
    count = len(events)
    tail = struct.pack(">hiqqqhii", _WITH_LZ4, count - 1, 0, 0, -1, -1, -1, count) + body
    head = struct.pack(">qiibI", 0, len(tail) + 9, -1, 2, _crc32c(np.frombuffer(tail, np.uint8), _TABLE))
    return head + tail, int(size)


def partition_of(cascade: Ints, partitions: int) -> Ints:
    """Return where Kafka's own partitioner (murmur2) puts the keys ``c<cascade>``."""
    return _hashes(cascade) % partitions


def _frame(records: bytes) -> bytes:
    parts = [_FRAME]
    for start in range(0, len(records), _BLOCK):
        block = records[start : start + _BLOCK]
        packed = _LZ4.compress(block, asbytes=True)
        small = len(packed) < len(block)
        parts += [
            struct.pack("<I", len(packed) if small else len(block) | 1 << 31),
            packed if small else block,
        ]
    return b"".join([*parts, b"\0\0\0\0"])


@njit(cache=True)
def _put(room: Bytes, at: int, text: Bytes) -> int:
    for i in range(len(text)):
        room[at + i] = text[i]
    return at + len(text)


@njit(cache=True)
def _put_number(room: Bytes, at: int, number: int, least_digits: int) -> int:
    digits, rest = 1, number // 10
    while rest > 0:
        digits += 1
        rest //= 10
    digits = max(digits, least_digits)
    for i in range(digits - 1, -1, -1):
        room[at + i] = 48 + number % 10
        number //= 10
    return at + digits


@njit(cache=True)
def _put_varint(room: Bytes, at: int, number: int) -> int:
    """Write a number of 0 or more, zigzag: its double, seven bits a byte, the lowest first."""
    rest = 2 * number
    while rest > 127:
        room[at] = rest % 128 + 128
        rest //= 128
        at += 1
    room[at] = rest
    return at + 1


@njit(cache=True)
def _put_value(room: Bytes, event_ms: int, cascade: int, mark: int, is_root: bool) -> int:
    at = _put(room, 0, _ROOT if is_root else _RETWEET)
    at = _put_number(room, at, event_ms // 1000, 1)
    room[at] = 46  # the decimal point
    at = _put_number(room, at + 1, event_ms % 1000, 3)
    at = _put_number(room, _put(room, at, _MARK), mark, 1)
    at = _put_number(room, _put(room, at, _SOURCE), cascade % _SOURCES + 1, 1)
    at = _put_number(room, _put(room, at, _INFO), cascade, 1)
    return _put(room, at, _END)


@njit(cache=True)
def _records(room: Bytes, event_ms: Ints, cascade: Ints, mark: Ints, is_root: NDArray[np.bool_]) -> int:
    """Write all records; return their bytes."""
    value, key, body = np.empty(400, np.uint8), np.empty(24, np.uint8), np.empty(480, np.uint8)
    key[0] = 99  # c
    at = 0
    for i in range(len(event_ms)):
        value_size = _put_value(value, event_ms[i], cascade[i], mark[i], is_root[i])
        key_size = _put_number(key, 1, cascade[i], 1)
        body[0] = 0  # attributes
        body[1] = 0  # time since the batch's
        size = _put_varint(body, 2, i)
        size = _put(body, _put_varint(body, size, key_size), key[:key_size])
        size = _put(body, _put_varint(body, size, value_size), value[:value_size])
        size = _put(body, size, _HEADERS)
        at = _put(room, _put_varint(room, at, size), body[:size])
    return at


def _crc_table() -> NDArray[np.uint32]:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(0x82F63B78), values >> 1)
    return values.astype(np.uint32)


_TABLE = _crc_table()


@njit(cache=True)
def _crc32c(data: Bytes, table: NDArray[np.uint32]) -> int:
    crc = np.uint32(0xFFFFFFFF)
    for byte in data:
        crc = table[(crc ^ byte) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    return int(crc ^ np.uint32(0xFFFFFFFF))


@njit(cache=True)
def _hashes(cascade: Ints) -> Ints:
    """Hash the keys ``c<cascade>`` by murmur2 as Kafka does, without the sign."""
    key, out = np.empty(24, np.uint8), np.empty(len(cascade), np.int64)
    key[0] = 99
    for i in range(len(cascade)):
        out[i] = _murmur2(key[: _put_number(key, 1, cascade[i], 1)]) & 0x7FFFFFFF
    return out


@njit(cache=True)
def _murmur2(data: Bytes) -> int:
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    size = len(data)
    h = (0x9747B28C ^ size) & mask
    whole = size // 4
    for i in range(whole):
        k = data[4 * i] | data[4 * i + 1] << 8 | data[4 * i + 2] << 16 | data[4 * i + 3] << 24
        k = (k * m) & mask
        k ^= k >> 24
        h = ((h * m) & mask) ^ ((k * m) & mask)
    rest = size - 4 * whole
    if rest:
        for i in range(rest):
            h ^= data[4 * whole + i] << (8 * i)
        h = (h * m) & mask
    h ^= h >> 13
    h = (h * m) & mask
    return h ^ (h >> 15)
