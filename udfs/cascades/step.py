"""One micro-batch of one bucket: events in; partials, sizes and letters out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from udfs.cascades.advance import COUNTED_LATE, ROOT, Events, Flags, Limits, Partials, advance, put_in_order
from udfs.cascades.bucket import PENDING, Bucket, one_batch
from udfs.cascades.rules import Rules
from udfs.cascades.table import N_OPEN, Capacity, Table, histories, ids_of, texts_of
from udfs.json_rows import Bools, binary_parts
from udfs.ragged import Floats, Ints, Ragged

#: Moves by which events nearly in order are sorted in place; a full sort costs about as much.
MOVES_PER_EVENT = 16


@dataclass(frozen=True)
class Windows:
    """Partials to send, k of them."""

    cid: pa.LargeBinaryArray
    text: pa.LargeStringArray
    window_s: Floats
    root_s: Floats
    size: Ints
    history: Ragged


@dataclass(frozen=True)
class Sizes:
    """Final sizes to send, one per window whose partial was sent."""

    cid: pa.LargeBinaryArray
    window_s: Floats
    root_s: Floats
    size: Ints
    last_s: Floats


@dataclass(frozen=True)
class Step:
    """What a micro-batch did to a bucket."""

    windows: Windows
    sizes: Sizes
    refused: pa.RecordBatch
    """Events no cascade took, of schema PENDING, with the verdict of each in ``refused_as``."""
    refused_as: Ints
    counted: int
    counted_late: int
    opened: int
    ended: int


def limits_of(rules: Rules) -> Limits:
    """Return the rules as compiled code takes them."""
    windows_s = np.array(rules.windows_s, np.float64)
    return Limits(windows_s, rules.terminated_s, rules.min_cascade_size, rules.max_events_per_window)


def step(bucket: Bucket, events: pa.RecordBatch, latest_s: float, rules: Rules) -> Step:
    """Advance a bucket, in place, by the events (schema EVENTS) of one micro-batch.

    ``latest_s`` is the largest event time that the partition has held in this micro-batch or before.
    """
    delay_s = rules.allowed_delay_s
    clock_before_s = bucket.latest_s - delay_s
    latest_s = max(latest_s, bucket.latest_s)
    clock_s = latest_s - delay_s
    effect_s, late, arrived = _arrivals(bucket, events, clock_before_s, delay_s)
    taken = _columns(arrived)
    due = taken.event_s < clock_s
    order = _order_of_effect(arrived, taken, effect_s, late, np.flatnonzero(due))
    bucket.make_room(_need(taken, order), len(rules.windows_s))
    table, open_before = bucket.table, int(bucket.table.header[N_OPEN])
    table.latest_s[0] = latest_s
    verdict, partials, ended = advance(table, taken, order, effect_s, late, clock_s, limits_of(rules))
    bucket.pending = arrived.filter(pa.array(~due))
    refused = np.flatnonzero(verdict > COUNTED_LATE)
    return Step(
        _windows(table, partials, rules),
        _sizes(table, ended, rules),
        arrived.take(pa.array(order[refused])),
        verdict[refused].astype(np.int64),
        len(order) - len(refused),
        int((verdict == COUNTED_LATE).sum()),
        int(table.header[N_OPEN]) + len(ended) - open_before,
        len(ended),
    )


def _arrivals(
    bucket: Bucket, events: pa.RecordBatch, clock_before_s: float, delay_s: float
) -> tuple[Floats, Flags, pa.RecordBatch]:
    """Join pending and new events (schema PENDING); tell when each takes effect and which are late."""
    n_pending = bucket.pending.num_rows
    arrived = one_batch(PENDING, [bucket.pending, events.select(PENDING.names)])
    event_s = arrived["event_s"].to_numpy()
    clock_at_arrival_s = np.full(len(event_s), float("-inf"))
    before_s = pc.fill_null(events["before_s"], float("-inf")).to_numpy()
    clock_at_arrival_s[n_pending:] = np.maximum(before_s - delay_s, clock_before_s)
    late = event_s < clock_at_arrival_s
    return np.where(late, clock_at_arrival_s, event_s), late.astype(np.int8), arrived


def _columns(events: pa.RecordBatch) -> Events:
    text = events["text"]
    has_text = text.is_valid().to_numpy(zero_copy_only=False).astype(np.int8)
    event_s, mark, kind = (events[name].to_numpy() for name in ("event_s", "mark", "kind"))
    ids, texts = binary_parts(events["cid"]), binary_parts(text)
    return Events(event_s, mark, kind, *ids, *texts, has_text)


def _order_of_effect(
    arrived: pa.RecordBatch, events: Events, effect_s: Floats, late: Flags, due: Ints
) -> Ints:
    """Order due events by effect; at one instant late ones first, as they came, then by kind and mark."""
    offset = arrived["offset"].to_numpy()
    most_moves = MOVES_PER_EVENT * len(due)
    if put_in_order(due, offset, effect_s, late, events.kind, events.mark, most_moves):
        return due
    offset, is_late = offset[due], late[due] == 1
    first = np.where(is_late, offset, events.kind[due])
    second = np.where(is_late, 0.0, events.mark[due])
    return due[np.lexsort((offset, second, first, ~is_late, effect_s[due]))]


def _need(events: Events, order: Ints) -> Capacity:
    """Return the room that these events may take, at most."""
    roots = order[events.kind[order] == ROOT]
    id_bytes = events.id_offsets[roots + 1] - events.id_offsets[roots]
    text_bytes = events.text_offsets[roots + 1] - events.text_offsets[roots]
    return Capacity(len(roots), int(id_bytes.sum()), int(text_bytes.sum()), len(order))


def _windows(table: Table, partials: Partials, rules: Rules) -> Windows:
    offsets, event_s, marks = histories(table, partials.newest, partials.kept)
    slots = table.slots[partials.slot]
    times_s = event_s - np.repeat(slots["root_s"], np.diff(offsets))
    owner = np.repeat(np.arange(len(slots)), np.diff(offsets))
    order = np.lexsort((times_s, owner))
    every: Bools = np.ones(len(slots), bool)
    return Windows(
        ids_of(table, slots),
        texts_of(table, slots, every),
        np.array(rules.windows_s)[partials.window],
        slots["root_s"],
        partials.size,
        Ragged(offsets, times_s[order], marks[order]),
    )


def _sizes(table: Table, ended: Ints, rules: Rules) -> Sizes:
    slots = table.slots[ended]
    place, window = np.nonzero((slots["sent"][:, None] >> np.arange(len(rules.windows_s))) & 1)
    slots = slots[place]
    window_s = np.array(rules.windows_s)[window]
    return Sizes(
        ids_of(table, slots), window_s, slots["root_s"], slots["size"].astype(np.int64), slots["last_s"]
    )
