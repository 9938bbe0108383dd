"""The 22 numbers that describe what an observation window saw of a cascade."""

from __future__ import annotations

from math import isfinite, log, log1p, sqrt

import numpy as np
from numba import njit

from udfs.ragged import Floats, Ints, Ragged

#: Names of the columns, in order. T is the window, n the events in it (the root counted), t their times from
#: the root.
FEATURES: tuple[str, ...] = (
    "log_n_obs",
    "share_before_1_8",  # (#{t < T/8} + .5) / (n + 1), and so on
    "share_before_1_4",
    "share_before_1_2",
    "share_before_3_4",
    "share_before_7_8",
    "silence_share",  # (T - t_last) / T
    "median_time_share",  # t_[n/2] / T
    "mean_log_time",  # of log1p(t), the root left out
    "std_log_time",
    "log_recent_gap",  # mean gap of the last six events up to T, as a share of T
    "log_root_followers",
    "log_sum_followers",  # of the retweeters, as the next two
    "log_max_followers",
    "mean_log_followers",
    "log_late_followers",  # of those with t >= .75 T
    "log_count_60s",
    "log_count_180s",
    "log_beta",
    "n_star",
    "log_g1",
    "log_hawkes_ratio",  # log(N_hat / n) of the Hawkes process alone
)
#: A mark counts as no more than this (more than there are people), so that no sum overflows.
MAX_MARK = 1e12
#: What stands for a parameter that is no finite number: the prior's median, and nothing expected.
DEFAULT_BETA, DEFAULT_N_STAR, DEFAULT_G1 = 1.0 / 1800.0, 0.6, 0.0
#: Keeps 1 - n* from 0; the fit's own bound on n* is lower.
MAX_N_STAR = 0.999
#: Bounds of beta (per second) and G1, far outside what a fit gives, so that every logarithm is finite.
MIN_BETA, MAX_BETA, MAX_G1 = 1e-12, 1e6, 1e15


def features(cascades: Ragged, window_s: Floats, beta: Floats, n_star: Floats, g1: Floats) -> Floats:
    """Describe k partial cascades, each within its window: shape (k, 22), columns ``FEATURES``.

    ``window_s`` (seconds), ``beta`` (1/s), ``n_star`` and ``g1`` have shape (k,). Events at or after the
    window's end count for nothing. Every value is finite: a Hawkes parameter that is not stands at its
    default. Raises ValueError for a cascade without an event in its window, a window that is not positive, or
    shapes that differ.

    >>> one = Ragged.from_lists([[0.0, 30.0, 90.0]], [[100.0, 5.0, 8.0]])
    >>> row = features(one, *(np.array([v]) for v in (600.0, 0.001, 0.5, 1.5)))[0]
    >>> {name: round(float(row[FEATURES.index(name)]), 4) for name in ("log_n_obs", "silence_share")}
    {'log_n_obs': 1.0986, 'silence_share': 0.85}
    """
    k = len(cascades)
    if any(np.shape(column) != (k,) for column in (window_s, beta, n_star, g1)):
        raise ValueError(f"window_s, beta, n_star and g1 each need the shape ({k},), one value per cascade")
    if not (np.isfinite(window_s).all() and np.all(window_s > 0)):
        raise ValueError("window_s must be positive")
    if k and (cascades.lengths.min() < 1 or (cascades.times_s[cascades.offsets[:-1]] >= window_s).any()):
        raise ValueError("each cascade needs at least its root within its window")
    out = np.zeros((k, len(FEATURES)))
    given = np.column_stack([window_s, beta, n_star, g1]).astype(np.float64)
    _rows(cascades.offsets, cascades.times_s, cascades.marks, given, out)
    return out


@njit(cache=True, nogil=True)
def _rows(
    offsets: Ints,
    times_s: Floats,
    marks: Floats,
    given: Floats,
    out: Floats,
) -> None:
    """``given``, shape (k, 4): window_s, beta, n_star, g1."""
    for i in range(len(offsets) - 1):
        first, end, window = offsets[i], offsets[i + 1], given[i, 0]
        while times_s[end - 1] >= window:
            end -= 1
        t, m, row = times_s[first:end], marks[first:end], out[i]
        row[0] = log(len(t))
        _counts(t, window, row)
        _times(t, window, row)
        _followers(t, m, window, row)
        _hawkes(len(t), given[i, 1], given[i, 2], given[i, 3], row)


@njit(cache=True, nogil=True)
def _counts(t: Floats, window: float, row: Floats) -> None:
    """Columns 1 to 5, 16 and 17: how many events came early."""
    bounds = (window / 8, window / 4, window / 2, window * 0.75, window * 0.875, 60.0, 180.0)
    counts = np.zeros(7)
    for time in t:
        for b in range(7):
            counts[b] += time < bounds[b]
    for b in range(5):
        row[1 + b] = (counts[b] + 0.5) / (len(t) + 1)
    row[16] = log1p(counts[5])
    row[17] = log1p(counts[6])


@njit(cache=True, nogil=True)
def _times(t: Floats, window: float, row: Floats) -> None:
    """Columns 6 to 10: how the events lie in time; mean and variance in one pass (Welford)."""
    n = len(t)
    row[6] = (window - t[n - 1]) / window
    row[7] = t[n // 2] / window
    mean, squares = 0.0, 0.0
    for i in range(1, n):
        value = log1p(max(t[i], 0.0))
        delta = value - mean
        mean += delta / i
        squares += delta * (value - mean)
    row[8] = mean
    row[9] = sqrt(max(squares, 0.0) / max(n - 1, 1))
    j = max(n - 6, 0)
    row[10] = log((window - t[j]) / ((n - j) * window) + 1e-4)


@njit(cache=True, nogil=True)
def _followers(t: Floats, m: Floats, window: float, row: Floats) -> None:
    """Columns 11 to 15: how many could see it."""
    total, largest, logs, late = 0.0, 0.0, 0.0, 0.0
    for i in range(1, len(t)):
        mark = min(m[i], MAX_MARK)
        total += mark
        largest = max(largest, mark)
        logs += log1p(mark)
        if t[i] >= 0.75 * window:
            late += mark
    row[11] = log1p(min(m[0], MAX_MARK))
    row[12] = log1p(total)
    row[13] = log1p(largest)
    row[14] = logs / max(len(t) - 1, 1)
    row[15] = log1p(late)


@njit(cache=True, nogil=True)
def _hawkes(n: int, beta: float, n_star: float, g1: float, row: Floats) -> None:
    """Columns 18 to 21: what the fit says."""
    decay = min(max(beta, MIN_BETA), MAX_BETA) if isfinite(beta) else DEFAULT_BETA
    branching = min(max(n_star, 0.0), MAX_N_STAR) if isfinite(n_star) else DEFAULT_N_STAR
    direct = min(max(g1, 0.0), MAX_G1) if isfinite(g1) else DEFAULT_G1
    row[18] = log(decay)
    row[19] = branching
    row[20] = log(direct + 1e-6)
    row[21] = log1p(direct / ((1.0 - branching) * n))
