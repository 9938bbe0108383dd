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

from udfs.ragged import Floats, Ints

#: What became of an event.
COUNTED, COUNTED_LATE, ORPHAN, LATE, REPEATED_ROOT = range(5)
ROOT = 0

Flags = NDArray[np.int8]


class Slots(NamedTuple):
    """Cascades, one per slot: the state's first, then those opened now; all arrays of shape (slots,)."""

    root_s: Floats
    last_s: Floats
    size: Ints
    closed: Flags
    """Windows that have closed."""
    sent: Ints
    """Bit w: the partial of window w was sent."""
    kept: Ints
    """Events in the history."""
    ended: Flags
    root_row: Ints
    """Row of the root among the events; -1 for a cascade of the state."""


class Verdicts(NamedTuple):
    """What became of each event, shape (n,), and its slot; -1 where it has none; whether history keeps it."""

    verdict: Flags
    slot: Ints
    in_history: Flags


class Partials(NamedTuple):
    """Windows that closed with enough events, shape (partials,)."""

    slot: Ints
    window: Ints
    size: Ints
    kept: Ints


@njit(cache=True)
def advance(
    slots: Slots,
    n_state: int,
    id_of_row: Ints,
    n_ids: int,
    kind: Flags,
    effect_s: Floats,
    event_s: Floats,
    late: Flags,
    clock_s: float,
    windows_s: Floats,
    terminated_s: float,
    min_size: int,
    max_kept: int,
) -> tuple[Verdicts, Partials, int]:
    """Run the events, in order of effect, through the cascades of one bucket, then the clock.

    ``slots`` has room for one more cascade per root event; the first ``n_state`` are the state's, and id
    i < n_state names slot i. Slots are changed in place.

    Returns
    -------
    Verdicts, partials, and the number of slots in use.

    """
    n = len(kind)
    verdict, slot_of_row, in_history = np.zeros(n, np.int8), np.full(n, -1, np.int64), np.zeros(n, np.int8)
    current = np.full(n_ids, -1, np.int64)
    current[:n_state] = np.arange(n_state)
    most = len(slots.root_s) * len(windows_s)
    partials = Partials(
        np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    )
    n_slots, n_partials = n_state, 0
    for row in range(n):
        now, name = effect_s[row], id_of_row[row]
        s = current[name]
        if s >= 0:
            n_partials = _close_windows(slots, s, now, windows_s, min_size, partials, n_partials)
            if now - slots.last_s[s] >= terminated_s:
                slots.ended[s] = 1
                current[name] = s = -1
        if kind[row] == ROOT:
            if s >= 0:
                verdict[row] = REPEATED_ROOT
                continue
            if now - event_s[row] >= terminated_s:
                verdict[row] = LATE
                continue
            s = current[name] = n_slots
            n_slots += 1
            slots.root_s[s] = slots.last_s[s] = event_s[row]
            slots.root_row[s] = row
            n_partials = _close_windows(slots, s, now, windows_s, min_size, partials, n_partials)
        elif s < 0 or event_s[row] < slots.root_s[s]:
            verdict[row] = LATE if late[row] else ORPHAN
            continue
        slots.size[s] += 1
        slots.last_s[s] = max(slots.last_s[s], event_s[row])
        slot_of_row[row] = s
        age_s, closed = event_s[row] - slots.root_s[s], slots.closed[s]
        if closed > 0 and age_s < windows_s[closed - 1]:
            verdict[row] = COUNTED_LATE
        if closed < len(windows_s) and age_s < windows_s[-1] and slots.kept[s] < max_kept:
            in_history[row] = 1
            slots.kept[s] += 1
    for s in range(n_slots):
        if not slots.ended[s]:
            n_partials = _close_windows(slots, s, clock_s, windows_s, min_size, partials, n_partials)
            if clock_s - slots.last_s[s] >= terminated_s:
                slots.ended[s] = 1
    done = Partials(
        partials.slot[:n_partials],
        partials.window[:n_partials],
        partials.size[:n_partials],
        partials.kept[:n_partials],
    )
    return Verdicts(verdict, slot_of_row, in_history), done, n_slots


@njit(cache=True)
def _close_windows(
    slots: Slots, s: int, now_s: float, windows_s: Floats, min_size: int, partials: Partials, count: int
) -> int:
    while slots.closed[s] < len(windows_s) and now_s - slots.root_s[s] >= windows_s[slots.closed[s]]:
        window = np.int64(slots.closed[s])
        if slots.size[s] >= min_size:
            partials.slot[count] = s
            partials.window[count] = window
            partials.size[count] = slots.size[s]
            partials.kept[count] = slots.kept[s]
            slots.sent[s] |= np.int64(1) << window
            count += 1
        slots.closed[s] += 1
    return count


@njit(cache=True)
def gather_history(
    slots: NDArray[np.int64],
    kept: Ints,
    old_offsets: Ints,
    old_s: Floats,
    old_marks: Floats,
    new_offsets: Ints,
    new_s: Floats,
    new_marks: Floats,
) -> tuple[Ints, Floats, Floats]:
    """Copy the first ``kept[i]`` events of the history of ``slots[i]``: the state's part, then this batch's.

    ``old_offsets`` covers the state's slots; ``new_offsets`` all slots. Returns offsets, times and marks.
    """
    offsets = np.zeros(len(slots) + 1, np.int64)
    for i in range(len(slots)):
        offsets[i + 1] = offsets[i] + kept[i]
    times_s, marks = np.empty(offsets[-1]), np.empty(offsets[-1])
    for i in range(len(slots)):
        s, to = slots[i], offsets[i]
        n_old = old_offsets[s + 1] - old_offsets[s] if s + 1 < len(old_offsets) else 0
        n_old = min(n_old, kept[i])
        if n_old:
            start = old_offsets[s]
            times_s[to : to + n_old] = old_s[start : start + n_old]
            marks[to : to + n_old] = old_marks[start : start + n_old]
        n_new, start = kept[i] - n_old, new_offsets[s]
        times_s[to + n_old : to + kept[i]] = new_s[start : start + n_new]
        marks[to + n_old : to + kept[i]] = new_marks[start : start + n_new]
    return offsets, times_s, marks
