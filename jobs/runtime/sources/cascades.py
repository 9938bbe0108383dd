"""Whole cascades, ready to be replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from udfs.ragged import Floats, Ints, Ragged


class SourceError(Exception):
    """A file that cannot be replayed; its text names the file, the line and the reason."""

    def __init__(self, path: Path, reason: str, line: int | None = None) -> None:
        where = f"{path}, line {line}" if line is not None else str(path)
        super().__init__(f"{where}: {reason}")


#: Refuse row i (from 0) of a table for a reason.
Refuse: TypeAlias = Callable[[int, str], SourceError]


@dataclass(frozen=True)
class Cascades:
    """k cascades: who they are, what their roots say, and their events.

    Raises ``ValueError`` when the three differ in length.
    """

    ids: list[str]
    """Id of each cascade, each once."""
    texts: list[str | None]
    """Text of each root, where it is known."""
    events: Ragged
    """Times since the root in seconds and followers, one or more events a cascade."""

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.texts) == len(self.events):
            raise ValueError("each cascade needs one id and one text")

    def __len__(self) -> int:
        return len(self.ids)


def group(codes: Ints, count: int, times_s: Floats, followers: Floats) -> tuple[Ragged, Ints]:
    """Collect flat events into cascades, each sorted by time and counted from its first event.

    Parameters
    ----------
    codes
        Cascade (0 to count - 1) of each event, shape (n,).
    count
        Number of cascades; every one has an event.
    times_s, followers
        Time, from any origin, and mark of each event, shape (n,).

    Returns
    -------
    The cascades, and the flat index of each cascade's root; of equal times the first in the file comes first.

    >>> cascades, roots = group(
    ...     np.array([0, 1, 0]), 2, np.array([9.0, 4.0, 7.0]), np.array([1.0, 2.0, 3.0])
    ... )
    >>> cascades.times_s.tolist(), cascades.marks.tolist(), roots.tolist()
    ([0.0, 2.0, 0.0], [3.0, 1.0, 2.0], [2, 1])

    """
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=count))]).astype(np.int64)
    order = np.lexsort((times_s, codes))
    sorted_s = times_s[order]
    since_root_s = sorted_s - np.repeat(sorted_s[offsets[:-1]], np.diff(offsets))
    return Ragged(offsets, since_root_s, followers[order]), order[offsets[:-1]].astype(np.int64)
