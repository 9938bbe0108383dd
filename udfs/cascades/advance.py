"""The state machine of cascades: one pass over a bucket's events, compiled.

An event is *late* when it is older than its partition's clock at its arrival. Events in time take effect when
the clock has passed them, in event-time order; late ones take effect at once. So what happens depends on the
partition's log alone, and events out of order within the allowed delay change nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from udfs.cascades.ids import Bytes, copy, hash_bytes, place_of
from udfs.cascades.table import N_EVENTS, N_IDS, N_OPEN, N_SLOTS, N_TEXTS, SEED, Table
from udfs.ragged import Floats, Ints

#: What became of an event.
COUNTED, COUNTED_LATE, ORPHAN, LATE, REPEATED_ROOT = range(5)
ROOT = 0

Flags = NDArray[np.int8]


class Events(NamedTuple):
    """Events as they arrived, shape (n,) each; offsets of ids and texts (n + 1,)."""

    event_s: Floats
    mark: Floats
    kind: Flags
    id_offsets: Ints
    ids: Bytes
    text_offsets: Ints
    texts: Bytes
    has_text: Flags


class Limits(NamedTuple):
    """The rules, for compiled code."""

    windows_s: Floats
    terminated_s: float
    min_size: int
    max_kept: int


class Partials(NamedTuple):
    """Windows that closed with enough events, shape (partials,)."""

    slot: Ints
    window: Ints
    size: Ints
    kept: Ints
    newest: Ints
    """Place of the history's last event when the window closed."""


class _Done(NamedTuple):
    """What has happened so far: partials and slots that ended, and how many there are of both."""

    partials: Partials
    ended: Ints
    counts: Ints


@njit(cache=True)
def advance(
    table: Table,
    events: Events,
    order: Ints,
    effect_s: Floats,
    late: Flags,
    clock_s: float,
    limits: Limits,
) -> tuple[Flags, Partials, Ints]:
    """Run events, in order of effect, through the cascades of one bucket, then the clock.

    ``order`` names the events that take effect now. The table is changed in place; it has room for them all.

    Returns
    -------
    What became of each event of ``order``, the windows that closed, and the slots of cascades that ended.

    """
    most = table.header[N_OPEN] + len(order)
    n = most * len(limits.windows_s)
    partials = Partials(
        np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64),
        np.empty(n, np.int64),
    )  # fmt: skip
    done = _Done(partials, np.empty(most, np.int64), np.zeros(2, np.int64))
    verdict = np.zeros(len(order), np.int8)
    for i in range(len(order)):
        row = order[i]
        verdict[i] = _take(table, events, row, effect_s[row], late[row], limits, done)
    for s in range(table.header[N_SLOTS]):
        if not table.slots[s].ended:
            _pass_time(table, np.int64(s), clock_s, limits, done)
    n, n_ended = done.counts
    found = Partials(
        partials.slot[:n], partials.window[:n], partials.size[:n], partials.kept[:n], partials.newest[:n]
    )
    return verdict, found, done.ended[:n_ended]


@njit(cache=True)
def _take(
    table: Table, events: Events, row: np.int64, now_s: float, late: int, limits: Limits, done: _Done
) -> int:
    """Let an event take effect; return what became of it."""
    event_s = events.event_s[row]
    start, stop = events.id_offsets[row], events.id_offsets[row + 1]
    h = hash_bytes(events.ids, start, stop, np.uint64(table.header[SEED]))
    place = place_of(table.names, table.slots, table.ids, h, events.ids, start, stop)
    s = np.int64(table.names[place])
    if s >= 0 and not table.slots[s].ended:
        _pass_time(table, s, now_s, limits, done)
    is_open = s >= 0 and not table.slots[s].ended
    if events.kind[row] == ROOT:
        if is_open:
            return REPEATED_ROOT
        if now_s - event_s >= limits.terminated_s:
            return LATE
        s = _append(table, events, row, h)
        table.names[place] = s
        _pass_time(table, s, now_s, limits, done)
    elif not is_open or event_s < table.slots[s].root_s:
        return LATE if late else ORPHAN
    slot = table.slots[s]
    slot.size += 1
    slot.last_s = max(slot.last_s, event_s)
    age_s, closed = event_s - slot.root_s, slot.closed
    if closed < len(limits.windows_s) and age_s < limits.windows_s[-1] and slot.kept < limits.max_kept:
        _keep(table, s, event_s, events.mark[row])
    return COUNTED_LATE if closed > 0 and age_s < limits.windows_s[closed - 1] else COUNTED


@njit(cache=True)
def _append(table: Table, events: Events, row: np.int64, h: np.uint64) -> np.int64:
    """Open a cascade by its root's event; return its slot."""
    header = table.header
    s = np.int64(header[N_SLOTS])
    id_size = events.id_offsets[row + 1] - events.id_offsets[row]
    text_size = events.text_offsets[row + 1] - events.text_offsets[row]
    copy(table.ids, header[N_IDS], events.ids, events.id_offsets[row], id_size)
    copy(table.texts, header[N_TEXTS], events.texts, events.text_offsets[row], text_size)
    slot = table.slots[s]
    slot.root_s = slot.last_s = events.event_s[row]
    slot.hash = h
    slot.id_start, slot.id_size = header[N_IDS], id_size
    slot.text_start, slot.text_size = header[N_TEXTS], text_size if events.has_text[row] else -1
    slot.size = slot.kept = 0
    slot.newest = -1
    slot.closed = slot.ended = slot.sent = 0
    header[N_IDS] += id_size
    header[N_TEXTS] += text_size
    header[N_SLOTS] += 1
    header[N_OPEN] += 1
    return s


@njit(cache=True)
def _keep(table: Table, s: np.int64, event_s: float, mark: float) -> None:
    """Append an event to a cascade's history."""
    slot, at = table.slots[s], table.header[N_EVENTS]
    table.history_s[at] = event_s
    table.history_marks[at] = mark
    table.previous[at] = slot.newest
    slot.newest = at
    slot.kept += 1
    table.header[N_EVENTS] = at + 1


@njit(cache=True)
def _pass_time(table: Table, s: np.int64, now_s: float, limits: Limits, done: _Done) -> None:
    """Close the windows of an open cascade whose time has come, and end it after its silence."""
    slot, partials, windows_s = table.slots[s], done.partials, limits.windows_s
    while slot.closed < len(windows_s) and now_s - slot.root_s >= windows_s[slot.closed]:
        if slot.size >= limits.min_size:
            at = done.counts[0]
            partials.slot[at], partials.window[at], partials.size[at] = s, slot.closed, slot.size
            partials.kept[at], partials.newest[at] = slot.kept, slot.newest
            slot.sent |= np.uint8(1) << np.uint8(slot.closed)
            done.counts[0] += 1
        slot.closed += 1
    if now_s - slot.last_s >= limits.terminated_s:
        slot.ended = 1
        table.header[N_OPEN] -= 1
        done.ended[done.counts[1]] = s
        done.counts[1] += 1


@njit(cache=True)
def put_in_order(
    rows: Ints, offset: Ints, effect_s: Floats, late: Flags, kind: Flags, mark: Floats, most_moves: int
) -> bool:
    """Sort nearly sorted rows in place by effect; at one instant late ones first, as they came, then by kind
    and mark. False if that took more than ``most_moves``: then they are only partly sorted.
    """
    moves = 0
    for i in range(1, len(rows)):
        row, j = rows[i], i
        while j > 0 and _before(row, rows[j - 1], offset, effect_s, late, kind, mark):
            rows[j] = rows[j - 1]
            j -= 1
        rows[j] = row
        moves += i - j
        if moves > most_moves:
            return False
    return True


@njit(cache=True)
def _before(a: int, b: int, offset: Ints, effect_s: Floats, late: Flags, kind: Flags, mark: Floats) -> bool:
    if effect_s[a] != effect_s[b]:
        return bool(effect_s[a] < effect_s[b])
    if late[a] != late[b]:
        return bool(late[a] > late[b])
    if not late[a] and kind[a] != kind[b]:
        return bool(kind[a] < kind[b])
    if not late[a] and mark[a] != mark[b]:
        return bool(mark[a] < mark[b])
    return bool(offset[a] < offset[b])
