"""The highest point of a log posterior in its box, all of it: a scan in log beta, then each local maximum.

For a fixed beta the posterior is concave in log p, ``(n - 1) log p - p C(beta) - prior``, so its maximum
over p (the profile) is exact and cheap, and what may have several maxima is one curve in log beta. The
profile's slope is the posterior's slope in log beta at that p (envelope theorem; also where p is on its
bound). A grid of slopes, half an octave apart, brackets the maxima: each term of the likelihood is a smooth
step, octaves wide, in log beta. Where the grid's values and slopes hint at two turns between two points,
the point between is tried too.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from udfs.hawkes.compiled import compiled
from udfs.hawkes.likelihood import Derivatives, LogPrior, posterior, safe_factors, statistics
from udfs.ragged import Floats

Box: TypeAlias = tuple[float, float, float, float]
"""Lowest and highest log p, then lowest and highest log beta: ``HawkesModel.log_box``."""
Point: TypeAlias = tuple[float, float, float, bool]
"""log p, log beta, log posterior, and whether the search ended as it should."""

#: Grid points are a factor sqrt(2) apart in beta: each decay is the square of the one two points before.
GRID_STEP = 0.5 * math.log(2.0)
#: Newton's steps in log beta end here; the value is then exact to about n * 1e-16.
LAST_STEP = 1e-8
#: Bisection alone needs 25 to get from GRID_STEP to LAST_STEP.
MAX_STEPS = 60


def beta_grid(box: Box) -> Floats:
    """Grid of log beta from the box's lowest to its highest, shape (g,); only the last gap may be shorter."""
    inner = np.arange(box[2], box[3] - 1e-3 * GRID_STEP, GRID_STEP)
    return np.append(inner, box[3]).astype(np.float64)


@compiled
def best_log_p(
    start: float, log_beta: float, n: int, c: float, prior: LogPrior, box: Box, step: float
) -> float:
    """Log p of the profile: the root of ``(n - 1) - p C - prior'`` in log p, or the bound it lies beyond.

    The function falls and is concave: after its first step Newton comes down to the root from above.
    """
    pull = n - 1.0 - prior[3] * (log_beta - prior[1]) + prior[2] * prior[0]
    low, high = box[0], box[1]
    if pull - prior[2] * high - c * math.exp(high) >= 0.0:
        return high
    if pull - prior[2] * low - c * math.exp(low) <= 0.0:
        return low
    u = min(max(start, low), high)
    for _ in range(MAX_STEPS):
        rate = c * math.exp(u)
        move = (pull - prior[2] * u - rate) / (prior[2] + rate)
        u = min(max(u + move, low), high)
        if abs(move) <= step:
            break
    return u


@compiled
def decays(grid_beta: Floats, gap_s: float, out: Floats) -> None:
    """Fill ``out`` (g,) with exp(-beta gap) along the grid: three exponentials, the rest squares."""
    g = len(grid_beta)
    out[0] = math.exp(-grid_beta[0] * gap_s)
    out[1] = math.exp(-grid_beta[1] * gap_s)
    for k in range(2, g - 1):
        out[k] = out[k - 2] * out[k - 2]
    out[g - 1] = math.exp(-grid_beta[g - 1] * gap_s)


@compiled
def scan(
    times_s: Floats, marks: Floats, window_s: float, grid_beta: Floats, factors: int, work: Floats
) -> None:
    """Fill rows 0 to 3 of ``work`` (6, g) with sum log A, its slope, C and its slope at each grid point.

    ``likelihood.statistics`` without second derivatives, for the whole grid at once: the loop over the grid
    has no branch and compiles to vector instructions.
    """
    log_sum, slope, a, da, product, decay = work[0], work[1], work[2], work[3], work[4], work[5]
    g, n = len(grid_beta), len(times_s)
    log_sum[:], slope[:], a[:], da[:], product[:] = 0.0, 0.0, 0.0, 0.0, 1.0
    total = marks[n - 1]
    pending = 0
    for i in range(n - 1):
        mark = marks[i]
        total += mark
        gap_s = times_s[i + 1] - times_s[i]
        decays(grid_beta, gap_s, decay)
        for k in range(g):
            b = mark + a[k]
            slope[k] += da[k] / b
            product[k] *= b
            da[k] = decay[k] * (da[k] - grid_beta[k] * gap_s * b)
            a[k] = decay[k] * b
        pending += 1
        if pending == factors or i == n - 2:
            for k in range(g):
                log_sum[k] += math.log(product[k])
                product[k] = 1.0
            pending = 0
    gap_s = window_s - times_s[n - 1]
    decays(grid_beta, gap_s, decay)
    for k in range(g):
        lag = grid_beta[k] * (times_s[n - 1] - times_s[0])
        log_sum[k] -= lag
        slope[k] -= lag
        b = marks[n - 1] + a[k]
        da[k] = -decay[k] * (da[k] - grid_beta[k] * gap_s * b)
        a[k] = max(total - decay[k] * b, 0.0)


@compiled
def profile_at(
    log_beta: float,
    start: float,
    times_s: Floats,
    marks: Floats,
    window_s: float,
    factors: int,
    prior: LogPrior,
    box: Box,
) -> tuple[float, Derivatives]:
    """Log p of the profile at one beta, found from ``start``, and the posterior's derivatives there."""
    stats = statistics(log_beta, times_s, marks, window_s, factors)
    n = len(times_s)
    log_p = best_log_p(start, log_beta, n, stats[3], prior, box, 1e-9)
    return log_p, posterior(log_p, log_beta, n, stats, prior)


@compiled
def climb(
    low: float,
    high: float,
    log_beta: float,
    log_p: float,
    times_s: Floats,
    marks: Floats,
    window_s: float,
    factors: int,
    prior: LogPrior,
    box: Box,
) -> Point:
    """The maximum between ``low``, where the profile rises, and ``high``, where it falls: safeguarded Newton.

    The curvature is the profile's: ``f_bb - f_pb^2 / f_pp``, or f_bb alone while p sits on its bound. A step
    that leaves the bracket, or is more than half the one before, is replaced by a bisection.
    """
    last = high - low
    for _ in range(MAX_STEPS):
        log_p, (value, _, slope, pp, pb, bb) = profile_at(
            log_beta, log_p, times_s, marks, window_s, factors, prior, box
        )
        if slope > 0.0:
            low = log_beta
        else:
            high = log_beta
        free = box[0] < log_p < box[1]
        curvature = bb - pb * pb / pp if free else bb
        step = -slope / curvature if curvature < 0.0 else np.inf
        if not (low <= log_beta + step <= high and abs(step) <= 0.5 * last):
            step = 0.5 * (low + high) - log_beta
        if abs(step) <= LAST_STEP:
            return log_p, log_beta, value, True
        last = abs(step)
        log_beta += step
    return log_p, log_beta, value, False


@compiled
def bracket_between(gap: float, rise: float, slope_low: float, slope_high: float) -> tuple[float, bool]:
    """Where between two grid points to look, 0 < z < 1 (negative: nowhere), and whether it is a sure bracket.

    Slopes of opposite sign bracket a maximum, guessed at the cubic's. With slopes of one sign the cubic
    through both points may turn twice: then z is where its slope, s0 + b z + c z^2, is most unlike theirs.
    """
    s0, s1 = slope_low * gap, slope_high * gap
    b, c = 6.0 * rise - 4.0 * s0 - 2.0 * s1, 3.0 * (s0 + s1) - 6.0 * rise
    if s0 > 0.0 >= s1:
        z = 2.0 * s0 / (-b + math.sqrt(max(b * b - 4.0 * c * s0, 0.0)))
        return (z if 0.0 < z < 1.0 else 0.5), True
    z = -b / (2.0 * c)
    turned = 0.0 < z < 1.0 and s0 * s1 > 0.0 and s0 * (s0 + b * z + c * z * z) < 0.0
    return (z if turned else -1.0), False


@compiled
def highest(
    times_s: Floats, marks: Floats, window_s: float, prior: LogPrior, box: Box, grid: Floats, work: Floats
) -> Point:
    """The highest point of the profile over the box: of both ends and all local maxima the scan brackets.

    ``grid`` (g,) is ``beta_grid(box)``; ``work`` has shape (7, g), its last row exp(grid).
    """
    factors = safe_factors(marks)
    scan(times_s, marks, window_s, work[6], factors, work)
    n, g = len(times_s), len(grid)
    value, slope, log_p = work[0], work[1], work[4]
    u = prior[0]
    for k in range(g):
        u = best_log_p(u, grid[k], n, work[2, k], prior, box, 1e-3)
        stats = (value[k], slope[k], 0.0, work[2, k], work[3, k], 0.0)
        derivatives = posterior(u, grid[k], n, stats, prior)
        value[k], slope[k], log_p[k] = derivatives[0], derivatives[2], u
    best = (log_p[0], grid[0], -np.inf, False)
    for k, inward in ((0, slope[0]), (g - 1, -slope[g - 1])):
        if inward <= 0.0:
            u, end = profile_at(grid[k], log_p[k], times_s, marks, window_s, factors, prior, box)
            if end[0] > best[2]:
                best = (u, grid[k], end[0], True)
    for k in range(g - 1):
        gap = grid[k + 1] - grid[k]
        z, sure = bracket_between(gap, value[k + 1] - value[k], slope[k], slope[k + 1])
        if z < 0.0:
            continue
        low, high, middle = grid[k], grid[k + 1], grid[k] + z * gap
        if not sure:
            u, seen = profile_at(middle, log_p[k], times_s, marks, window_s, factors, prior, box)
            if seen[2] * slope[k] >= 0.0:
                continue
            low, high = (low, middle) if slope[k] > 0.0 else (middle, high)
            middle = 0.5 * (low + high)
        peak = climb(low, high, middle, log_p[k], times_s, marks, window_s, factors, prior, box)
        if peak[2] > best[2]:
            best = peak
    return best
