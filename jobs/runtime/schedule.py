"""When each event of each cascade happens on the one simulated clock of all sources."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.runtime.knobs import Generator
from jobs.runtime.sources.cascades import Cascades
from udfs.ragged import Floats, Ints

#: Starts are multiples of 1/1024 s: a start plus a time in whole seconds is then exact in binary, so an event
#: that a file puts exactly 600 s after its root is exactly 600 s after it on the wire too.
TICKS_PER_S = 1024


@dataclass(frozen=True)
class Schedule:
    """All n events in the order they happen; every array has shape (n,).

    Of equal times, the cascade that is first in the input comes first; a cascade's events keep their order.
    """

    event_time_s: Floats
    """Simulated time, from 0."""
    cascade: NDArray[np.int32]
    """Which cascade."""
    position: NDArray[np.int32]
    """Which event of the cascade; 0 is the root."""
    source: NDArray[np.int32]
    """Which source emits it."""

    def __len__(self) -> int:
        return len(self.event_time_s)


def plan(cascades: Cascades, knobs: Generator) -> Schedule:
    """Merge all cascades into one stream.

    There are ``sources`` times ``concurrent`` slots. Cascades are taken in order by the slot that is free
    first; one starts uniformly within ``start_range_s`` of its turn, which is the last event of the slot's
    previous cascade, or 0. The same cascades, knobs and seed give the same schedule.
    """
    start_s, source = _starts(cascades, knobs)
    lengths = cascades.events.lengths
    unordered_s = np.repeat(start_s, lengths) + cascades.events.times_s
    cascade = np.repeat(np.arange(len(cascades), dtype=np.int32), lengths)
    first = np.repeat(cascades.events.offsets[:-1], lengths)
    position = (np.arange(len(unordered_s)) - first).astype(np.int32)
    # Stable: a sum that rounds never swaps two events of one cascade.
    order = np.argsort(unordered_s, kind="stable")
    return Schedule(unordered_s[order], cascade[order], position[order], source[cascade[order]])


def _starts(cascades: Cascades, knobs: Generator) -> tuple[Floats, NDArray[np.int32]]:
    """Start (s) and source of each cascade, each of shape (k,)."""
    rng = np.random.default_rng([knobs.seed, 1])  # 1: a stream of its own, apart from the simulator's
    wait_s = rng.uniform(0.0, knobs.start_range_s, len(cascades))
    last: Ints = cascades.events.offsets[1:] - 1
    duration_s = cascades.events.times_s[last] if len(last) else np.empty(0)
    start_s = np.empty(len(cascades))
    source = np.empty(len(cascades), dtype=np.int32)
    # More slots than cascades would only wait for nothing.
    slots = min(knobs.sources * knobs.concurrent, len(cascades))
    free = [(0.0, slot) for slot in range(slots)]
    for number in range(len(cascades)):
        turn_s, slot = free[0]
        start_s[number] = np.ceil((turn_s + wait_s[number]) * TICKS_PER_S) / TICKS_PER_S
        source[number] = slot % knobs.sources
        heapq.heapreplace(free, (float(start_s[number] + duration_s[number]), slot))
    return start_s, source
