"""One micro-batch of one bucket: events in, partials, sizes, letters and the next state out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from udfs.cascades.advance import (
    COUNTED_LATE,
    ROOT,
    Partials,
    Slots,
    Verdicts,
    advance,
    gather_history,
)
from udfs.cascades.bucket import CASCADES, EVENTS, PENDING, Bucket, one_batch
from udfs.cascades.ids import match_ids
from udfs.cascades.rules import Rules
from udfs.json_rows import Bools, binary_parts
from udfs.ragged import Floats, Ints, Ragged

#: Differs between processes, so that nobody can prepare ids that collide; no result depends on it.
_SEED = np.uint64(int.from_bytes(os.urandom(8), "little"))


@dataclass(frozen=True)
class Windows:
    """Partials to send, k of them."""

    cid: pa.BinaryArray
    text: pa.StringArray
    window_s: Floats
    root_s: Floats
    size: Ints
    history: Ragged


@dataclass(frozen=True)
class Sizes:
    """Final sizes to send, one per window whose partial was sent."""

    cid: pa.BinaryArray
    window_s: Floats
    root_s: Floats
    size: Ints
    last_s: Floats


@dataclass(frozen=True)
class Step:
    """What a micro-batch did to a bucket."""

    bucket: Bucket
    windows: Windows
    sizes: Sizes
    refused: pa.RecordBatch
    """Events no cascade took, of schema EVENTS, with the verdict of each in ``refused_as``."""
    refused_as: Ints
    counted: int
    counted_late: int
    opened: int
    ended: int


def step(bucket: Bucket, events: pa.RecordBatch, latest_s: float, rules: Rules) -> Step:
    """Advance a bucket by the events (schema EVENTS) of one micro-batch.

    ``latest_s`` is the largest event time that the partition has held in this micro-batch or before.
    """
    clock_before_s = bucket.latest_s - rules.allowed_delay_s
    latest_s = max(latest_s, bucket.latest_s)
    clock_s = latest_s - rules.allowed_delay_s
    effect_s, late, waiting, events = _arrivals(
        bucket, events, clock_before_s, clock_s, rules.allowed_delay_s
    )
    order = _order_of_effect(events, effect_s, late, ~waiting)
    pending = events.filter(pa.array(waiting)).select(PENDING.names)
    due = events.take(pa.array(order))
    state = bucket.cascades
    ids, first = match_ids(*binary_parts(state["cid"]), *binary_parts(due["cid"]), _SEED)
    kind = due["kind"].to_numpy()
    slots = _slots(state, int((kind == ROOT).sum()))
    event_s = due["event_s"].to_numpy()
    verdicts, partials, n_slots = advance(
        slots, state.num_rows, ids, state.num_rows + len(first), kind, effect_s[order], event_s,
        late[order].astype(np.int8), clock_s, np.array(rules.windows_s), rules.terminated_s,
        rules.min_cascade_size, rules.max_events_per_window,
    )  # fmt: skip
    slots = Slots._make(column[:n_slots] for column in slots)
    past = _History(state, due, verdicts, n_slots)
    named = _Names(state, due, slots)
    windows = _windows(partials, slots, past, named, rules)
    live = np.flatnonzero(slots.ended == 0)
    cascades = _state(live, slots, past, named, len(rules.windows_s))
    refused = np.flatnonzero(verdicts.verdict > COUNTED_LATE)
    return Step(
        Bucket(latest_s, cascades, pending),
        windows,
        _sizes(slots, named, rules),
        due.take(pa.array(refused)),
        verdicts.verdict[refused].astype(np.int64),
        int((verdicts.verdict <= COUNTED_LATE).sum()),
        int((verdicts.verdict == COUNTED_LATE).sum()),
        n_slots - state.num_rows,
        n_slots - len(live),
    )


def _arrivals(
    bucket: Bucket, events: pa.RecordBatch, clock_before_s: float, clock_s: float, delay_s: float
) -> tuple[Floats, Bools, Bools, pa.RecordBatch]:
    """Join pending and new events; tell when each takes effect, which are late, which still wait."""
    pending = bucket.pending.append_column("before_s", pa.nulls(bucket.pending.num_rows, pa.float64()))
    joined = one_batch(EVENTS, [pending.select(EVENTS.names), events])
    event_s = joined["event_s"].to_numpy()
    before_s = pc.fill_null(joined["before_s"], float("-inf")).to_numpy()
    clock_at_arrival_s = np.maximum(before_s - delay_s, clock_before_s)
    clock_at_arrival_s[: bucket.pending.num_rows] = float("-inf")
    late = event_s < clock_at_arrival_s
    return np.where(late, clock_at_arrival_s, event_s), late, event_s >= clock_s, joined


def _order_of_effect(events: pa.RecordBatch, effect_s: Floats, late: Bools, due: Bools) -> Ints:
    """Order due events by effect; at one instant late ones first, as they came, then by kind and mark."""
    offset, kind, mark = (events[name].to_numpy() for name in ("offset", "kind", "mark"))
    keys = (offset, np.where(late, 0.0, mark), np.where(late, offset, kind), ~late, effect_s)
    order = np.lexsort(keys)
    ordered: Ints = order[due[order]].astype(np.int64)
    return ordered


def _slots(state: pa.RecordBatch, n_roots: int) -> Slots:
    def grown(values: NDArray[Any], fill: float) -> NDArray[Any]:
        return np.concatenate([values, np.full(n_roots, fill, values.dtype)])

    column = {name: state[name].to_numpy() for name in ("root_s", "last_s", "size", "closed", "sent")}
    return Slots(
        root_s=grown(column["root_s"], 0),
        last_s=grown(column["last_s"], 0),
        size=grown(column["size"], 0),
        closed=grown(column["closed"], 0),
        sent=grown(column["sent"], 0),
        kept=grown(np.diff(_offsets(state["history_s"])), 0),
        ended=np.zeros(state.num_rows + n_roots, np.int8),
        root_row=np.full(state.num_rows + n_roots, -1, np.int64),
    )


def _offsets(lists: pa.ListArray) -> Ints:
    offsets: Ints = lists.offsets.to_numpy().astype(np.int64)
    return offsets


class _History:
    """Events kept of each slot: those of the state, then this batch's in order of effect."""

    def __init__(self, state: pa.RecordBatch, due: pa.RecordBatch, verdicts: Verdicts, n_slots: int) -> None:
        kept = np.flatnonzero(verdicts.in_history)
        slot = verdicts.slot[kept]
        rows = kept[np.argsort(slot, kind="stable")]
        self._new_offsets = np.concatenate([[0], np.cumsum(np.bincount(slot, minlength=n_slots))])
        self._new_s = due["event_s"].to_numpy()[rows]
        self._new_marks = due["mark"].to_numpy()[rows]
        self._old_offsets = _offsets(state["history_s"])
        self._old_s = state["history_s"].values.to_numpy()
        self._old_marks = state["history_marks"].values.to_numpy()

    def first(self, slots: Ints, kept: Ints) -> tuple[Ints, Floats, Floats]:
        """Return offsets, event times and marks of the first ``kept`` events of each slot."""
        return gather_history(
            slots, kept, self._old_offsets, self._old_s, self._old_marks,
            self._new_offsets.astype(np.int64), self._new_s, self._new_marks,
        )  # fmt: skip


class _Names:
    """Id and text of each slot."""

    def __init__(self, state: pa.RecordBatch, due: pa.RecordBatch, slots: Slots) -> None:
        n_state = state.num_rows
        rows = np.where(slots.root_row < 0, np.arange(len(slots.root_row)), slots.root_row + n_state)
        self._rows = rows
        self._cid = pa.concat_arrays([state["cid"], due["cid"]])
        self._text = pa.concat_arrays([state["text"], due["text"]])

    def cid(self, slots: Ints) -> pa.BinaryArray:
        return self._cid.take(pa.array(self._rows[slots]))

    def text(self, slots: Ints) -> pa.StringArray:
        return self._text.take(pa.array(self._rows[slots]))


def _windows(partials: Partials, slots: Slots, past: _History, named: _Names, rules: Rules) -> Windows:
    offsets, event_s, marks = past.first(partials.slot, partials.kept)
    root_s = slots.root_s[partials.slot]
    times_s = event_s - np.repeat(root_s, np.diff(offsets))
    owner = np.repeat(np.arange(len(partials.slot)), np.diff(offsets))
    order = np.lexsort((times_s, owner))
    return Windows(
        named.cid(partials.slot),
        named.text(partials.slot),
        np.array(rules.windows_s)[partials.window],
        root_s,
        partials.size,
        Ragged(offsets, times_s[order], marks[order]),
    )


def _sizes(slots: Slots, named: _Names, rules: Rules) -> Sizes:
    bits = (slots.sent[:, None] >> np.arange(len(rules.windows_s))) & 1
    slot, window = np.nonzero((bits == 1) & (slots.ended == 1)[:, None])
    window_s = np.array(rules.windows_s)[window]
    return Sizes(named.cid(slot), window_s, slots.root_s[slot], slots.size[slot], slots.last_s[slot])


def _state(live: Ints, slots: Slots, past: _History, named: _Names, n_windows: int) -> pa.RecordBatch:
    observed = slots.closed[live] < n_windows
    offsets, event_s, marks = past.first(live, np.where(observed, slots.kept[live], 0))
    lists = pa.array(offsets, pa.int32())
    text = pc.if_else(pa.array(observed), named.text(live), pa.scalar(None, pa.string()))
    columns = [named.cid(live), text]
    columns += [
        pa.array(column[live])
        for column in (slots.root_s, slots.last_s, slots.size, slots.closed, slots.sent)
    ]
    columns += [pa.ListArray.from_arrays(lists, pa.array(values)) for values in (event_s, marks)]
    return pa.RecordBatch.from_arrays(columns, schema=CASCADES)
