"""Cascades of different lengths in flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Ragged:
    """A batch of k cascades with n events in all.

    Cascade i holds the events ``offsets[i]:offsets[i + 1]``; in each, times run from the root (first is 0).

    >>> cascades = Ragged.from_lists([[0.0, 5.0], [0.0]], [[10.0, 3.0], [7.0]])
    >>> cascades.lengths.tolist(), cascades.times_s.tolist()
    ([2, 1], [0.0, 5.0, 0.0])
    """

    offsets: Ints
    """Shape (k + 1,), from 0 to n, never falling."""
    times_s: Floats
    """Shape (n,), seconds since the root of the cascade, rising within a cascade."""
    marks: Floats
    """Shape (n,), followers of the author, not negative."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """Events of each cascade, shape (k,)."""
        return np.diff(self.offsets)

    @classmethod
    def from_lists(cls, times_s: Sequence[Sequence[float]], marks: Sequence[Sequence[float]]) -> Ragged:
        """Build from one sequence of times and one of marks per cascade."""
        lengths = [len(times) for times in times_s]
        if lengths != [len(values) for values in marks]:
            raise ValueError("each cascade needs as many marks as times")
        flat = np.concatenate([np.empty(0), *map(np.asarray, times_s)])
        return cls(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            flat.astype(np.float64),
            np.concatenate([np.empty(0), *map(np.asarray, marks)]).astype(np.float64),
        )

    def observed_until(self, window_s: float) -> Ragged:
        """Keep the events with a time before ``window_s``: what an observation window saw."""
        keep = self.times_s < window_s
        kept = np.concatenate([[0], np.cumsum(keep)])
        return Ragged(kept[self.offsets], self.times_s[keep], self.marks[keep])
