"""The log posterior of one cascade and its derivatives in (log p, log beta).

Marked Hawkes process with an exponential kernel; with Ogata's recursion (O(n)) and ``A_1 = 0``::

    lambda(t) = sum_{t_i<t} p x_i beta exp(-beta (t - t_i))
    B_i = x_i + A_i,    A_i = B_{i-1} exp(-beta (t_i - t_{i-1}))
    LL = (n - 1) log(p beta) + sum_{i>=2} log A_i - p C,    C = sum x_i - A_T

and a log-normal prior is added, without its constant. Two things keep it finite. ``sum log A_i`` is summed
as ``sum log B_{i-1} - beta (t_n - t_1)``, and B_i >= x_i > 0 because transformed marks are positive: A_i
may underflow after a long silence, its logarithm does not. Equal times are taken in the order given (an
event excites those after it at the same instant, A_i = B_{i-1}); such a cluster rewards beta without end,
which the bound on beta stops.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np

from udfs.hawkes.compiled import compiled
from udfs.hawkes.model import HawkesModel
from udfs.ragged import Floats

LogPrior: TypeAlias = tuple[float, float, float, float, float]
"""Mean of log p, mean of log beta, precision (0, 0), (0, 1), (1, 1): ``HawkesModel.log_prior``."""
Statistics: TypeAlias = tuple[float, float, float, float, float, float]
"""sum log A and its first and second derivative in log beta; C and its two."""
Derivatives: TypeAlias = tuple[float, float, float, float, float, float]
"""Value; derivatives in log p, in log beta; second derivatives pp, p beta, beta beta."""

#: A product of doubles is safe while its logarithm stays within ±700.
LOG_OF_SAFE_PRODUCT = 690.0


@compiled
def safe_factors(marks: Floats) -> int:
    """How many B_i can be multiplied before the product may overflow or underflow: a logarithm saved each.

    Each B_i lies between the smallest mark and the sum of all.
    """
    smallest = np.inf
    total = 0.0
    for mark in marks:
        smallest = min(smallest, mark)
        total += mark
    widest = max(abs(math.log(smallest)), abs(math.log(total)), 1e-3)
    return max(1, int(min(LOG_OF_SAFE_PRODUCT / widest, 1e6)))


@compiled
def statistics(log_beta: float, times_s: Floats, marks: Floats, window_s: float, factors: int) -> Statistics:
    """All that the likelihood needs to know of the cascade at one beta; derivatives are in log beta.

    ``times_s`` and transformed ``marks`` have shape (n,), n >= 1; ``factors`` is ``safe_factors(marks)``.
    """
    beta = math.exp(log_beta)
    n = len(times_s)
    a, da, dda = 0.0, 0.0, 0.0
    log_sum, slope, curvature, total = 0.0, 0.0, 0.0, 0.0
    product = 1.0
    pending = 0
    for i in range(n):
        end_s = times_s[i + 1] if i + 1 < n else window_s
        x = beta * (end_s - times_s[i])
        decay = math.exp(-x)
        total += marks[i]
        b = marks[i] + a
        if i + 1 < n:
            ratio = da / b
            slope += ratio
            curvature += dda / b - ratio * ratio
            product *= b
            pending += 1
            if pending == factors:
                log_sum += math.log(product)
                product, pending = 1.0, 0
        dda = decay * (dda - 2.0 * x * da + x * (x - 1.0) * b)
        da = decay * (da - x * b)
        a = decay * b
    lag = beta * (times_s[n - 1] - times_s[0])
    log_sum += math.log(product) - lag
    return log_sum, slope - lag, curvature - lag, max(total - a, 0.0), -da, -dda


@compiled
def posterior(log_p: float, log_beta: float, n: int, stats: Statistics, prior: LogPrior) -> Derivatives:
    """Log posterior of n events and its derivatives, from ``statistics`` at the same beta."""
    log_sum, slope, curvature, c, dc, ddc = stats
    u = log_p - prior[0]
    v = log_beta - prior[1]
    p = math.exp(log_p)
    count = n - 1.0
    value = count * (log_p + log_beta) + log_sum - p * c
    value -= 0.5 * (prior[2] * u * u + 2.0 * prior[3] * u * v + prior[4] * v * v)
    by_p = count - p * c - prior[2] * u - prior[3] * v
    by_beta = count + slope - p * dc - prior[3] * u - prior[4] * v
    return value, by_p, by_beta, -p * c - prior[2], -p * dc - prior[3], curvature - p * ddc - prior[4]


@compiled
def posterior_at(
    log_p: float, log_beta: float, times_s: Floats, marks: Floats, window_s: float, prior: LogPrior
) -> Derivatives:
    """Log posterior of one cascade (transformed marks) and its derivatives, in one compiled call."""
    stats = statistics(log_beta, times_s, marks, window_s, safe_factors(marks))
    return posterior(log_p, log_beta, len(times_s), stats, prior)


class LogPosterior(NamedTuple):
    """The log posterior at one point, up to the prior's constant."""

    value: float
    gradient: Floats
    """Shape (2,), in (log p, log beta)."""
    hessian: Floats
    """Shape (2, 2)."""


def log_posterior(
    times_s: Floats, followers: Floats, window_s: float, model: HawkesModel, log_p: float, log_beta: float
) -> LogPosterior:
    """Log posterior of one cascade at (log p, log beta), with gradient and Hessian.

    ``times_s`` (seconds, rising, none above ``window_s``) and ``followers`` have shape (n,), n >= 1.

    >>> from udfs.hawkes.model import rescaled
    >>> times_s, followers = np.array([0.0, 60.0]), np.array([100.0, 10.0])
    >>> log_p, log_beta = math.log(0.6), math.log(1 / 1800)
    >>> round(log_posterior(times_s, followers, 600.0, rescaled(), log_p, log_beta).value, 4)
    -8.3812
    """
    marks = model.transformed(followers)
    value, by_p, by_beta, pp, pb, bb = posterior_at(
        log_p, log_beta, times_s, marks, window_s, model.log_prior
    )
    return LogPosterior(value, np.array([by_p, by_beta]), np.array([[pp, pb], [pb, bb]]))
