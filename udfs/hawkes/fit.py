"""Maximum a posteriori fits of many cascades at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from udfs.hawkes.compiled import compiled
from udfs.hawkes.likelihood import LogPrior, posterior_at
from udfs.hawkes.model import HawkesModel
from udfs.hawkes.profile import Box, beta_grid, highest
from udfs.ragged import Floats, Ints, Ragged

#: ``at_bound``: the best point of the box is on its edge, and is kept. The other three fall back to the
#: prior's mode: a root alone says nothing of its retweets; the search did not settle; a time, mark or
#: result is no number.
STATUSES: Final[tuple[str, ...]] = ("ok", "at_bound", "too_few_events", "not_converged", "not_finite")
OK: Final = 0
AT_BOUND: Final = 1
TOO_FEW_EVENTS: Final = 2
NOT_CONVERGED: Final = 3
NOT_FINITE: Final = 4

#: Within this of a bound in log p or log beta a point counts as on it.
BOUND_TOLERANCE: Final = 1e-9


@dataclass(frozen=True)
class Fits:
    """One fit a cascade; every array has shape (k,) and is finite whatever the cascade was."""

    p: Floats
    beta: Floats
    """Per second."""
    n_star: Floats
    """Branching factor, within the model's bounds."""
    g1: Floats
    """Direct retweets still to come, p sum x_i exp(-beta (T - t_i)); 0 where marks are no numbers."""
    n_supp: Floats
    """Expected events still to come: g1 / (1 - n_star)."""
    objective: Floats
    """Log posterior at (p, beta), without the prior's constant; 0 where it is no number."""
    status: NDArray[np.int8]
    """Index in ``STATUSES``."""

    def __len__(self) -> int:
        return len(self.p)


def fit_map(cascades: Ragged, window_s: ArrayLike, model: HawkesModel) -> Fits:
    """Fit (p, beta) to each cascade: the highest point of the log posterior within the model's box.

    ``window_s`` (k,), or one for all, is how long each cascade was observed; marks are followers. The
    posterior of a real cascade can have several maxima, above all with the reference's marks: the one found
    is the highest of the box, not the one nearest to a start (``profile`` says how; from the prior's mode,
    Powell's method ends lower on half of the real cascades, by up to 200).

    Raises ``ValueError`` for times that fall within a cascade, or lie outside of [0, window_s].

    >>> from udfs.hawkes.model import rescaled
    >>> cascades = Ragged.from_lists([[0.0, 20.0, 50.0, 300.0], [0.0]], [[900.0, 150.0, 0.0, 80.0], [5.0]])
    >>> fits = fit_map(cascades, 600.0, rescaled())
    >>> [STATUSES[status] for status in fits.status], fits.n_star.round(3).tolist()
    (['ok', 'too_few_events'], [0.806, 0.6])
    """
    windows_s = np.ascontiguousarray(np.broadcast_to(np.asarray(window_s, dtype=np.float64), len(cascades)))
    bad = first_disorder(cascades.offsets, cascades.times_s, windows_s)
    if bad >= 0:
        raise ValueError(f"times of cascade {bad} must rise from 0 and not pass its window")
    out = np.zeros((6, len(cascades)))
    status = np.zeros(len(cascades), dtype=np.int8)
    fit_flat(
        cascades.offsets,
        cascades.times_s,
        model.transformed(cascades.marks),
        windows_s,
        model.log_prior,
        model.log_box,
        beta_grid(model.log_box),
        model.expected_mark,
        out,
        status,
    )
    p, beta, n_star, g1, n_supp, objective = out
    return Fits(p, beta, n_star, g1, n_supp, objective, status)


@compiled
def first_disorder(offsets: Ints, times_s: Floats, windows_s: Floats) -> int:
    """First cascade whose finite times fall, are negative or pass its window; -1 for none."""
    for i in range(len(offsets) - 1):
        before = 0.0
        for j in range(offsets[i], offsets[i + 1]):
            if math.isfinite(times_s[j]):
                if times_s[j] < before or times_s[j] > windows_s[i]:
                    return i
                before = times_s[j]
    return -1


@compiled
def usable(times_s: Floats, marks: Floats, window_s: float) -> bool:
    """Whether all times are finite and all transformed marks positive and finite."""
    for i in range(len(times_s)):
        if not (math.isfinite(times_s[i]) and 0.0 < marks[i] < np.inf):
            return False
    return math.isfinite(window_s)


@compiled
def fit_one(
    times_s: Floats, marks: Floats, window_s: float, prior: LogPrior, box: Box, grid: Floats, work: Floats
) -> tuple[float, float, float, int]:
    """Log p, log beta, objective and status of one cascade, not yet fallen back."""
    if not usable(times_s, marks, window_s):
        return prior[0], prior[1], 0.0, NOT_FINITE
    if len(times_s) < 2:
        mode = posterior_at(prior[0], prior[1], times_s, marks, window_s, prior)[0] if len(times_s) else 0.0
        return prior[0], prior[1], mode, TOO_FEW_EVENTS
    log_p, log_beta, objective, settled = highest(times_s, marks, window_s, prior, box, grid, work)
    if not math.isfinite(objective):
        return prior[0], prior[1], 0.0, NOT_FINITE
    if not settled:
        mode = posterior_at(prior[0], prior[1], times_s, marks, window_s, prior)[0]
        return prior[0], prior[1], mode, NOT_CONVERGED
    inside_p = log_p - box[0] > BOUND_TOLERANCE and box[1] - log_p > BOUND_TOLERANCE
    inside_beta = log_beta - box[2] > BOUND_TOLERANCE and box[3] - log_beta > BOUND_TOLERANCE
    return log_p, log_beta, objective, OK if inside_p and inside_beta else AT_BOUND


@compiled
def expected_children(p: float, beta: float, times_s: Floats, marks: Floats, window_s: float) -> float:
    """G1 = p sum x_i exp(-beta (T - t_i))."""
    weight = 0.0
    for i in range(len(times_s)):
        weight += marks[i] * math.exp(-beta * (window_s - times_s[i]))
    return p * weight


@compiled
def fit_flat(
    offsets: Ints,
    times_s: Floats,
    marks: Floats,
    windows_s: Floats,
    prior: LogPrior,
    box: Box,
    grid: Floats,
    expected_mark: float,
    out: Floats,
    status: NDArray[np.int8],
) -> None:
    """Fill ``out`` (6, k), the fields of ``Fits`` in order, and ``status`` (k,); marks are transformed."""
    work = np.empty((7, len(grid)))
    work[6] = np.exp(grid)
    n_star_low, n_star_high = math.exp(box[0]) * expected_mark, math.exp(box[1]) * expected_mark
    for i in range(len(offsets) - 1):
        t, x = times_s[offsets[i] : offsets[i + 1]], marks[offsets[i] : offsets[i + 1]]
        log_p, log_beta, objective, code = fit_one(t, x, windows_s[i], prior, box, grid, work)
        p, beta = math.exp(log_p), math.exp(log_beta)
        n_star = min(max(p * expected_mark, n_star_low), n_star_high)
        g1 = 0.0 if code == NOT_FINITE else expected_children(p, beta, t, x, windows_s[i])
        n_supp = g1 / (1.0 - n_star)
        if not (math.isfinite(n_supp) and math.isfinite(objective)):
            p, beta, objective, code = math.exp(prior[0]), math.exp(prior[1]), 0.0, NOT_FINITE
            n_star, g1, n_supp = p * expected_mark, 0.0, 0.0
        out[0, i], out[1, i], out[2, i] = p, beta, n_star
        out[3, i], out[4, i], out[5, i] = g1, n_supp, objective
        status[i] = code
