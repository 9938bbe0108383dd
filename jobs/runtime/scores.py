"""How far predictions were off: by window and method, early and late in a run."""

from __future__ import annotations

import math
import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.runtime.messages import Stat
from udfs.ragged import Floats

#: The methods that are compared: the window's model, Hawkes alone, the constant multiple k n.
STAGES = ("model", "hawkes", "kn")
#: Errors kept of one window and method (800 kB).
MAX_KEPT = 100_000


@dataclass(frozen=True)
class Summary:
    """Absolute relative errors of one window and method; NaN where there are none.

    Count and mean are exact. The rest is of the kept errors: all of them up to the bound, then evenly spread
    ones. Early and late are the first and the last third.
    """

    count: int
    mean: float
    median: float
    early_mean: float
    early_median: float
    late_mean: float
    late_median: float


class ErrorSeries:
    """Errors in order of arrival, at most ``bound`` of them: when full, every second one is let go.

    >>> series = ErrorSeries(bound=4)
    >>> for error in range(7):
    ...     series.add(float(error))
    >>> series.kept, series.summary().count, series.summary().mean
    ([0.0, 2.0, 4.0, 6.0], 7, 3.0)
    """

    def __init__(self, bound: int = MAX_KEPT) -> None:
        self._bound = bound
        self._stride = 1
        self._values = array("d")
        self._count, self._sum = 0, 0.0

    @property
    def kept(self) -> list[float]:
        """The errors kept, oldest first."""
        return self._values.tolist()

    def add(self, error: float) -> None:
        """Take one more error."""
        if self._count % self._stride == 0:
            if len(self._values) == self._bound:
                self._values = self._values[::2]
                self._stride *= 2
            if self._count % self._stride == 0:
                self._values.append(error)
        self._count += 1
        self._sum += error

    def summary(self) -> Summary:
        """Sum up."""
        values = np.array(self._values, dtype=np.float64)
        third = math.ceil(len(values) / 3)
        early, late = values[:third], values[len(values) - third :]
        mean = self._sum / self._count if self._count else math.nan
        return Summary(
            self._count, mean, _median(values), _mean(early), _median(early), _mean(late), _median(late)
        )


class Scores:
    """The errors of every configured window and method; safe to read while another thread adds."""

    def __init__(self, windows_s: Sequence[int], bound: int = MAX_KEPT) -> None:
        self.windows_s = tuple(windows_s)
        self._lock = threading.Lock()
        self._series = {(window, stage): ErrorSeries(bound) for window in windows_s for stage in STAGES}

    def add(self, stat: Stat) -> bool:
        """Take the errors of one prediction; return whether its window is a configured one."""
        window_s = int(stat.window_s)
        if stat.window_s != window_s or window_s not in self.windows_s:
            return False
        with self._lock:
            for stage, error in errors_of(stat).items():
                self._series[window_s, stage].add(error)
        return True

    def summary(self, window_s: int, stage: str) -> Summary:
        """Sum up one window and method; ``KeyError`` when there is no such one."""
        with self._lock:
            return self._series[window_s, stage].summary()


def errors_of(stat: Stat) -> dict[str, float]:
    """Return the error of each method that gave an answer, in the order of ``STAGES``."""
    errors = zip(STAGES, (stat.error, stat.hawkes_error, stat.kn_error), strict=True)
    return {stage: error for stage, error in errors if error is not None}


def _mean(values: Floats) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else math.nan
