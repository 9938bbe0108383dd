"""A bucket: a share of one Kafka partition's cascades, and how it is written down.

The state store holds of each bucket a list of *entries* (`Entry`): at first or after compaction the cascades
themselves, then what each micro-batch brought. Cascades are a pure function of these, so a bucket can be made
again from its entries anywhere (`udfs.cascades.journal`); between micro-batches it stays in a file mapped to
memory (`udfs.cascades.shelf`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from udfs.cascades.table import (
    CASCADES,
    N_EVENTS,
    N_IDS,
    N_SLOTS,
    N_TEXTS,
    Allocate,
    Capacity,
    Table,
    in_memory,
    open_rows,
    table_of,
)

#: First byte of an entry; a reader refuses any other.
STATE_VERSION = 2
_BASE, _EVENTS = 0, 1
_HEADER = struct.Struct("<BBdI")

#: Events between the Kafka reader and the bucket. ``before_s`` is the largest event time that the micro-batch
#: held before this event in its partition, where the event lies further behind than the allowed delay.
EVENTS = pa.schema(
    [
        ("offset", pa.int64()),
        ("before_s", pa.float64()),
        ("event_s", pa.float64()),
        ("mark", pa.float64()),
        ("kind", pa.int8()),
        ("cid", pa.binary()),
        ("text", pa.large_string()),
    ]
)
#: Events that the clock has not passed: at most those of the last ``allowed_delay_s``.
PENDING = EVENTS.remove(EVENTS.get_field_index("before_s"))
#: Least room that is left when a table is laid out; beyond it, as much as is in use.
_LEAST_ROOM = Capacity(256, 8192, 16_384, 1024)
#: LZ4 would save 0.05 to 0.1 us of an event's 2 us and write 27 bytes for it, not 16: to the shuffle, to the
#: state store, and again with each of its snapshots.
_PACKED = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))


class StateVersionError(Exception):
    """The state was written by another version of the collector."""


@dataclass(slots=True)
class Bucket:
    """Open cascades, events that wait for the clock, and where the table's memory comes from."""

    table: Table
    pending: pa.RecordBatch
    allocate: Allocate = in_memory

    @classmethod
    def empty(cls, allocate: Allocate = in_memory) -> Bucket:
        """Return the bucket of a partition of which nothing was read."""
        table = table_of(empty_batch(CASCADES), float("-inf"), _LEAST_ROOM, allocate)
        return cls(table, empty_batch(PENDING), allocate)

    @property
    def latest_s(self) -> float:
        """Return the largest event time that the partition has held."""
        return float(self.table.latest_s[0])

    @property
    def nbytes(self) -> int:
        """Return the memory of the table, room that is not used included, and of the waiting events."""
        return sum(array.nbytes for array in self.table) + int(self.pending.nbytes)

    def cascades(self, n_windows: int) -> pa.RecordBatch:
        """Return the open cascades as rows of CASCADES."""
        return open_rows(self.table, n_windows)

    def make_room(self, need: Capacity, n_windows: int) -> None:
        """Move the living to a larger table if this one has not the room; what has ended is left behind."""
        header = self.table.header
        used = header[[N_SLOTS, N_IDS, N_TEXTS, N_EVENTS]].tolist()
        if all(u + n <= c for u, n, c in zip(used, need, self.table.capacity, strict=True)):
            return
        rows = self.cascades(n_windows)
        sizes = (rows.num_rows, rows["cid"].nbytes, rows["text"].nbytes, len(rows["history_s"].values))
        room = Capacity(*map(max, _LEAST_ROOM, (n + s for n, s in zip(need, sizes, strict=True))))
        self.table = table_of(rows, self.latest_s, room, self.allocate)

    def to_bytes(self, n_windows: int) -> bytes:
        """Return the bucket as an entry."""
        return _entry(_BASE, self.latest_s, [to_ipc(self.cascades(n_windows)), to_ipc(self.pending)])

    @classmethod
    def from_bytes(cls, data: bytes, allocate: Allocate = in_memory) -> Bucket:
        """Read what :meth:`to_bytes` wrote.

        Raises
        ------
        StateVersionError
            The first byte is not this version's.

        """
        entry = read_entry(data)
        if entry.cascades is None:
            raise StateVersionError("the state begins with events, not with cascades")
        table = table_of(entry.cascades, entry.latest_s, _LEAST_ROOM, allocate)
        return cls(table, entry.events, allocate)


@dataclass(frozen=True)
class Entry:
    """One element of a bucket's journal."""

    latest_s: float
    cascades: pa.RecordBatch | None
    """The open cascades; None where the entry only adds events."""
    events: pa.RecordBatch
    """Beside cascades those that wait (PENDING), else what a micro-batch brought (EVENTS)."""


def events_entry(blobs: Sequence[bytes], latest_s: float) -> bytes:
    """Return what a micro-batch brought, already packed (`to_ipc` of EVENTS), as an entry."""
    return _entry(_EVENTS, latest_s, [blob for blob in blobs if blob])


def _entry(kind: int, latest_s: float, blobs: Sequence[bytes]) -> bytes:
    sizes = struct.pack(f"<{len(blobs)}Q", *map(len, blobs))
    return b"".join([_HEADER.pack(STATE_VERSION, kind, latest_s, len(blobs)), sizes, *blobs])


def read_entry(data: bytes) -> Entry:
    """Read an entry.

    Raises
    ------
    StateVersionError
        The first byte is not this version's.

    """
    if data[0] != STATE_VERSION:
        raise StateVersionError(
            f"the checkpoint holds state of version {data[0]}, this collector reads {STATE_VERSION}: "
            "run the version that wrote it, or start from an empty checkpoint"
        )
    _, kind, latest_s, count = _HEADER.unpack_from(data)
    sizes = struct.unpack_from(f"<{count}Q", data, _HEADER.size)
    view, blobs = memoryview(data)[_HEADER.size + 8 * count :], []
    for size in sizes:
        blobs.append(view[:size])
        view = view[size:]
    if kind == _BASE:
        return Entry(latest_s, from_ipc(blobs[0], CASCADES), from_ipc(blobs[1], PENDING))
    return Entry(latest_s, None, one_batch(EVENTS, (from_ipc(blob, EVENTS) for blob in blobs)))


def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch of no rows."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def to_ipc(batch: pa.RecordBatch) -> bytes:
    """Return one batch as a compressed Arrow stream; nothing for no rows."""
    if batch.num_rows == 0:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_PACKED) as writer:
        writer.write_batch(batch)
    return bytes(memoryview(sink.getvalue()))


def from_ipc(data: Any, schema: pa.Schema) -> pa.RecordBatch:
    """Read one batch of ``schema``."""
    if len(data) == 0:
        return empty_batch(schema)
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        if reader.schema != schema:
            raise StateVersionError(f"state with the columns {reader.schema.names}, {schema.names} expected")
        return reader.read_next_batch()


def one_batch(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """Join batches of one schema."""
    full = [batch for batch in batches if batch.num_rows]
    if not full:
        return empty_batch(schema)
    return full[0] if len(full) == 1 else pa.concat_batches(full)
