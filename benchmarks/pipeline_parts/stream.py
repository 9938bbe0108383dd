"""An endless stream of cascades: heavy-tailed sizes, and windows that close all the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Sizes follow a Pareto law, cut at ``MAX_SIZE``: 55 % are of one event, 7 % of 10 or more, the mean is 5.56.
ALPHA = 1.16
MAX_SIZE = 20_000
MEAN_SIZE = float((np.arange(1.0, MAX_SIZE + 1) ** -ALPHA).sum())
#: A cascade takes about this long whatever its size; no gap is longer, so none ends before its last event.
SPREAD_S = 1500.0
#: Events drawn at once, about.
ROUND = 300_000

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Events:
    """n events in the order of their times; every array has shape (n,)."""

    event_ms: Ints
    cascade: Ints
    mark: Ints
    is_root: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.event_ms)

    def part(self, start: int, stop: int) -> Events:
        """Return the events ``start:stop``."""
        cut = slice(start, stop)
        return Events(self.event_ms[cut], self.cascade[cut], self.mark[cut], self.is_root[cut])


@dataclass(frozen=True)
class Windows:
    """k windows that hold enough events to be predicted; every array has shape (k,)."""

    cascade: Ints
    root_ms: Ints
    window_s: Ints

    def joined(self, other: Windows) -> Windows:
        """Return both."""
        pairs = (
            (self.cascade, other.cascade),
            (self.root_ms, other.root_ms),
            (self.window_s, other.window_s),
        )
        return Windows(*(np.concatenate(pair) for pair in pairs))


class Stream:
    """Cascades that start at a constant rate of event time; the same seed gives the same stream.

    Parameters
    ----------
    density
        Events per second of event time, once the first cascades are as old as cascades become.
    windows_s, min_size
        The collector's rules, for the windows it has to send.
    seed
        Of everything drawn.

    """

    def __init__(self, density: float, windows_s: Sequence[int], min_size: int, seed: int) -> None:
        self._roots_per_s = density / MEAN_SIZE
        self._round_s = ROUND / density
        self._windows_s, self._min_size = windows_s, min_size
        self._rng = np.random.default_rng(seed)
        self._now_s, self._cascades = 0.0, 0
        none = np.empty(0, np.int64)
        self._waiting = Events(none, none, none, none.astype(bool))
        self._ready: list[Events] = []
        self.windows = Windows(none, none, none)
        self._lifetimes_s = 0.0

    @property
    def live_cascades(self) -> float:
        """Cascades that live at once in the long run, with 1800 s of silence at their end (Little's law)."""
        return self._roots_per_s * (self._lifetimes_s / max(1, self._cascades) + 1800.0)

    def take(self, count: int) -> Events:
        """Return the next ``count`` events."""
        while sum(map(len, self._ready)) < count:
            self._ready.append(self._round())
        joined = _joined(self._ready)
        self._ready = [joined.part(count, len(joined))]
        return joined.part(0, count)

    def _round(self) -> Events:
        """Start the cascades of the next stretch of time; return its events."""
        until_s = self._now_s + self._round_s
        known = _joined([self._waiting, self._cascades_between(self._now_s, until_s)])
        order = np.argsort(known.event_ms, kind="stable")
        known = Events(*(column[order] for column in vars(known).values()))
        due = int(np.searchsorted(known.event_ms, until_s * 1000.0))
        self._waiting, self._now_s = known.part(due, len(known)), until_s
        return known.part(0, due)

    def _cascades_between(self, start_s: float, stop_s: float) -> Events:
        rng, count = self._rng, self._rng.poisson((stop_s - start_s) * self._roots_per_s)
        # Floor of a Pareto variable of least value 1: at least k with probability k^-alpha.
        sizes = np.minimum(np.floor(rng.pareto(ALPHA, count) + 1.0), MAX_SIZE).astype(np.int64)
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        gap_s = np.minimum(rng.exponential(1.0, sizes.sum()) * np.repeat(SPREAD_S / sizes, sizes), SPREAD_S)
        gap_s[first] = 0.0
        passed_s = np.cumsum(gap_s)
        since_root_s = passed_s - np.repeat(passed_s[first], sizes)
        root_ms = np.rint(rng.uniform(start_s, stop_s, count) * 1000.0).astype(np.int64)
        since_root_ms = np.rint(since_root_s * 1000.0).astype(np.int64)
        cascade = np.repeat(np.arange(count) + self._cascades, sizes)
        mark = np.minimum(np.floor(rng.pareto(0.9, len(cascade)) * 50.0 + 1.0), 1e7).astype(np.int64)
        is_root = np.zeros(len(cascade), np.bool_)
        is_root[first] = True
        self._note_windows(cascade, root_ms, since_root_ms, count)
        self._cascades += count
        self._lifetimes_s += float(since_root_s[first + sizes - 1].sum())
        return Events(np.repeat(root_ms, sizes) + since_root_ms, cascade, mark, is_root)

    def _note_windows(self, cascade: Ints, root_ms: Ints, since_root_ms: Ints, count: int) -> None:
        for window_s in self._windows_s:
            seen = np.bincount(cascade[since_root_ms < window_s * 1000] - self._cascades, minlength=count)
            rows = np.flatnonzero(seen >= self._min_size)
            new = Windows(rows + self._cascades, root_ms[rows], np.full(len(rows), window_s))
            self.windows = self.windows.joined(new)


def _joined(parts: Sequence[Events]) -> Events:
    return Events(
        *(np.concatenate(columns) for columns in zip(*(vars(p).values() for p in parts), strict=True))
    )
