"""The constant multiple k n: the answer before there are trees, and the one to beat afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from math import e, isfinite

import numpy as np

from udfs.forest.errors import ModelError
from udfs.forest.quantiles import weighted_quantile
from udfs.ragged import Floats

#: How many samples the first guess counts for.
PSEUDO_SAMPLES = 4
#: The first guess of N / n, k0(T) = 1 + 2 (T / 600 s)^-EXPONENT: the power law through 3.0 at 600 s and 2.3
#: at 1200 s (measured on four data sets) that falls to 1 as the window grows.
FIRST_EXCESS, FIRST_WINDOW_S, EXPONENT = 2.0, 600.0, 0.6215
#: Before any sample the interval is k0 / e to k0 e: 1.1 to 8.2 at 600 s, where 90 % of simulated ratios lie
#: in 1.7 to 9.
FIRST_SPREAD = e


def first_ratio(window_s: float) -> float:
    """Return k0, the guess of N / n before any sample.

    >>> [round(first_ratio(window_s), 2) for window_s in (60, 600, 1200, 86400)]
    [9.37, 3.0, 2.3, 1.09]
    """
    return float(1.0 + FIRST_EXCESS * (window_s / FIRST_WINDOW_S) ** -EXPONENT)


@dataclass(frozen=True)
class Ratios:
    """What the ratios N / n of a window's samples say, together with the first guess; each at least 1."""

    are_optimal: float
    """Their median with weights 1 / r: the k for which k n has the least mean absolute relative error."""
    median: float
    low: float
    """The 10 % quantile."""
    high: float
    """The 90 % quantile."""

    @classmethod
    def of(cls, log_ratio: Floats, window_s: float) -> Ratios:
        """Summarise s targets log(N / n) and ``PSEUDO_SAMPLES`` first guesses.

        >>> Ratios.of(np.log([2.0] * 5), 600).are_optimal
        2.0
        """
        first = first_ratio(window_s)
        ratio = np.exp(log_ratio)
        centre = np.append(ratio, np.full(PSEUDO_SAMPLES, first))
        half = np.full(PSEUDO_SAMPLES // 2, first)
        spread = np.concatenate([ratio, half / FIRST_SPREAD, half * FIRST_SPREAD])
        even = np.ones(len(centre))
        return cls(
            are_optimal=weighted_quantile(centre, 1.0 / centre, 0.5),
            median=weighted_quantile(centre, even, 0.5),
            low=max(weighted_quantile(spread, even, 0.1), 1.0),
            high=max(weighted_quantile(spread, even, 0.9), 1.0),
        )

    def check(self) -> None:
        """Raise ModelError unless these are possible ratios."""
        values = (self.are_optimal, self.median, self.low, self.high)
        if not all(isfinite(value) and value >= 1.0 for value in values) or self.low > self.high:
            raise ModelError(f"the model's ratios are not possible: {self}")
