"""Every cascade of a bucket in flat arrays of one buffer, which compiled code changes in place.

Cascades and the events of their histories are appended; what has ended stays until the table is full, when
the living is copied to a new one. So a micro-batch costs what its events cost, not what is alive.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from udfs.cascades.ids import Bytes, copy, hash_bytes, place_of
from udfs.json_rows import binary_parts
from udfs.ragged import Floats, Ints

#: Places in `Table.header`. A table is *dirty* while a micro-batch changes it; its *stamp* names the state;
#: its *seed* keeps senders from preparing ids that collide, and no result depends on it.
VERSION, DIRTY, STAMP_HIGH, STAMP_LOW, SEED, N_SLOTS, N_IDS, N_TEXTS, N_EVENTS, N_OPEN = range(10)
_HEADER_WORDS = 32
_CAPACITIES = 16
_LAYOUT_VERSION = 1
_ALIGNMENT = 64

#: Open cascades. Each leaves when its partition's clock is ``terminated_s`` past its last event; history and
#: text leave when the last window has closed, and history holds at most ``max_events_per_window`` events.
CASCADES = pa.schema(
    [
        ("cid", pa.large_binary()),
        ("text", pa.large_string()),
        ("root_s", pa.float64()),
        ("last_s", pa.float64()),
        ("size", pa.int64()),
        ("closed", pa.int8()),
        ("sent", pa.int64()),
        ("history_s", pa.large_list(pa.float64())),
        ("history_marks", pa.large_list(pa.float64())),
    ]
)


class Capacity(NamedTuple):
    """Room for this many cascades, bytes of their ids and texts, and events of their histories."""

    slots: int
    id_bytes: int
    text_bytes: int
    events: int


#: What is known of a cascade beside its bytes and its history: 64 bytes, one line of a processor's cache.
SLOT = np.dtype(
    [
        ("root_s", np.float64),
        ("last_s", np.float64),
        ("hash", np.uint64),
        ("id_start", np.int64),
        ("text_start", np.int64),
        ("size", np.int32),
        #: Events in the history, and the place of its last one; -1 for none.
        ("kept", np.int32),
        ("newest", np.int32),
        #: Bytes of the text; -1 for none.
        ("text_size", np.int32),
        ("id_size", np.int16),
        #: Windows that have closed; bit w of ``sent``: the partial of window w was sent.
        ("closed", np.int8),
        ("ended", np.int8),
        ("sent", np.uint8),
        ("", np.uint8, 3),
    ]
)


class Table(NamedTuple):
    """The cascades are slots; an event of a history has its place in the last three arrays."""

    header: Ints
    latest_s: Floats
    """The partition's latest event time, shape (1,)."""
    slots: NDArray[np.void]
    """Of dtype SLOT."""
    names: NDArray[np.int32]
    """Open addressing of slots by id; -1 is empty. A slot that ended keeps its place until its id returns."""
    ids: Bytes
    texts: Bytes
    history_s: Floats
    history_marks: Floats
    previous: NDArray[np.int32]
    """Place of the event before in the same history; -1 for the first."""

    @property
    def capacity(self) -> Capacity:
        """Return what the arrays have room for."""
        return Capacity(len(self.slots), len(self.ids), len(self.texts), len(self.history_s))


#: How a table gets its buffer of zeros: size in bytes in, writable buffer out.
Allocate = Callable[[int], Any]


def _index_size(slots: int) -> int:
    return 1 << max(4, int(2 * slots - 1).bit_length())


def _arrays(capacity: Capacity) -> list[tuple[Any, int]]:
    """Return type and length of each array, in the order of the fields of `Table`."""
    slots, id_bytes, text_bytes, events = capacity
    f8 = np.float64
    return [
        (np.int64, _HEADER_WORDS), (f8, 1), (SLOT, slots), (np.int32, _index_size(slots)),
        (np.uint8, id_bytes), (np.uint8, text_bytes), (f8, events), (f8, events), (np.int32, events),
    ]  # fmt: skip


def table_bytes(capacity: Capacity) -> int:
    """Return the size of a table's buffer."""
    return sum(_padded(np.dtype(kind).itemsize * length) for kind, length in _arrays(capacity))


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _views(buffer: Any, capacity: Capacity) -> Table:
    views, start = [], 0
    for kind, length in _arrays(capacity):
        views.append(np.frombuffer(buffer, kind, length, start))
        start += _padded(np.dtype(kind).itemsize * length)
    return Table(*views)


def opened(buffer: Any) -> Table | None:
    """Return the table that lies in a buffer; None where there is none of this layout."""
    if len(buffer) < 8 * _HEADER_WORDS:
        return None
    header = np.frombuffer(buffer, np.int64, _HEADER_WORDS)
    capacity = Capacity(*header[_CAPACITIES : _CAPACITIES + 4].tolist())
    if header[VERSION] != _LAYOUT_VERSION or min(capacity) < 0 or table_bytes(capacity) != len(buffer):
        return None
    return _views(buffer, capacity)


def in_memory(size: int) -> Any:
    """Allocate a buffer that only this process sees."""
    return bytearray(size)


def table_of(rows: pa.RecordBatch, latest_s: float, room: Capacity, allocate: Allocate) -> Table:
    """Lay out cascades (schema CASCADES), with room beyond them."""
    cid, text = binary_parts(rows["cid"]), binary_parts(rows["text"])
    history_at = rows["history_s"].offsets.to_numpy()
    used = Capacity(rows.num_rows, _span(cid[0]), _span(text[0]), _span(history_at))
    capacity = Capacity(*(u + r for u, r in zip(used, room, strict=True)))
    table = _views(allocate(table_bytes(capacity)), capacity)
    table.header[VERSION] = _LAYOUT_VERSION
    table.header[DIRTY] = 1
    table.header[SEED] = int.from_bytes(os.urandom(8), "little", signed=True)
    table.header[_CAPACITIES : _CAPACITIES + 4] = capacity
    table.header[N_SLOTS : N_OPEN + 1] = [*used, rows.num_rows]
    table.latest_s[0] = latest_s
    table.names[:] = -1
    slots = table.slots[: rows.num_rows]
    for name in ("root_s", "last_s", "size", "sent", "closed"):
        slots[name] = rows[name].to_numpy()
    for start, size, into, (offsets, data) in (
        ("id_start", "id_size", table.ids, cid),
        ("text_start", "text_size", table.texts, text),
    ):
        slots[start], slots[size] = offsets[:-1] - offsets[0], np.diff(offsets)
        into[: _span(offsets)] = data[offsets[0] : offsets[-1]]
    slots["text_size"][rows["text"].is_null().to_numpy(zero_copy_only=False)] = -1
    _fill(
        table, rows.num_rows, history_at.astype(np.int64),
        rows["history_s"].values.to_numpy(), rows["history_marks"].values.to_numpy(),
    )  # fmt: skip
    return table


def _span(offsets: NDArray[Any]) -> int:
    return int(offsets[-1] - offsets[0])


@njit(cache=True)
def _fill(table: Table, n: int, offsets: Ints, history_s: Floats, marks: Floats) -> None:
    """Enter the first n slots in the index, and their histories."""
    seed = np.uint64(table.header[SEED])
    for s in range(n):
        slot = table.slots[s]
        start, stop = slot.id_start, slot.id_start + slot.id_size
        slot.hash = hash_bytes(table.ids, start, stop, seed)
        table.names[place_of(table.names, table.slots, table.ids, slot.hash, table.ids, start, stop)] = s
        newest = np.int32(-1)
        for i in range(offsets[s], offsets[s + 1]):
            at = i - offsets[0]
            table.history_s[at] = history_s[i]
            table.history_marks[at] = marks[i]
            table.previous[at] = newest
            newest = np.int32(at)
        slot.newest = newest
        slot.kept = offsets[s + 1] - offsets[s]


def open_rows(table: Table, n_windows: int) -> pa.RecordBatch:
    """Return the open cascades as rows of CASCADES: no text and no history once all windows have closed."""
    slots = table.slots[: table.header[N_SLOTS]]
    slots = slots[slots["ended"] == 0]
    observed = slots["closed"] < n_windows
    offsets, history_s, marks = histories(table, slots["newest"], np.where(observed, slots["kept"], 0))
    lists = pa.array(offsets, pa.int64())
    columns = [ids_of(table, slots), texts_of(table, slots, observed)]
    columns += [pa.array(slots[name], CASCADES.field(name).type) for name in CASCADES.names[2:7]]
    columns += [pa.LargeListArray.from_arrays(lists, pa.array(values)) for values in (history_s, marks)]
    return pa.RecordBatch.from_arrays(columns, schema=CASCADES)


def ids_of(table: Table, slots: NDArray[np.void]) -> pa.LargeBinaryArray:
    """Return the ids of slots."""
    start = slots["id_start"]
    offsets, data = gather(start, start + slots["id_size"], table.ids)
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(slots), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


def texts_of(table: Table, slots: NDArray[np.void], wanted: NDArray[np.bool_]) -> pa.LargeStringArray:
    """Return the texts of slots, null where there is none or none is wanted."""
    wanted = wanted & (slots["text_size"] >= 0)
    start = slots["text_start"]
    offsets, data = gather(start, start + np.where(wanted, slots["text_size"], 0), table.texts)
    valid = pa.py_buffer(np.packbits(wanted, bitorder="little"))
    return pa.LargeStringArray.from_buffers(len(slots), pa.py_buffer(offsets), pa.py_buffer(data), valid)


@njit(cache=True)
def gather(start: Ints, stop: Ints, data: Bytes) -> tuple[Ints, Bytes]:
    """Copy the pieces ``data[start[i]:stop[i]]`` one after the other; return their offsets too."""
    offsets = np.zeros(len(start) + 1, np.int64)
    for i in range(len(start)):
        offsets[i + 1] = offsets[i] + stop[i] - start[i]
    out = np.empty(offsets[-1], np.uint8)
    for i in range(len(start)):
        copy(out, offsets[i], data, start[i], stop[i] - start[i])
    return offsets, out


@njit(cache=True)
def histories(table: Table, newest: Ints, kept: Ints) -> tuple[Ints, Floats, Floats]:
    """Return the last ``kept[i]`` events up to place ``newest[i]``: offsets, event times and marks."""
    offsets = np.zeros(len(newest) + 1, np.int64)
    for i in range(len(newest)):
        offsets[i + 1] = offsets[i] + kept[i]
    times_s, marks = np.empty(offsets[-1]), np.empty(offsets[-1])
    for i in range(len(newest)):
        at = newest[i]
        for to in range(offsets[i + 1] - 1, offsets[i] - 1, -1):
            times_s[to] = table.history_s[at]
            marks[to] = table.history_marks[at]
            at = np.int64(table.previous[at])
    return offsets, times_s, marks
