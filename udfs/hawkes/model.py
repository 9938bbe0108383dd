"""What a Hawkes fit assumes: how marks are read, the prior, and the box the parameters live in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from udfs.ragged import Floats

MarkKind: TypeAlias = Literal["at_least_one", "log1p"]
Pair: TypeAlias = tuple[float, float]

DAY_S: Final = 86_400.0

#: The mean of log1p(followers) + .1 over real users is 5 to 5.5; the scale is frozen with each trained model.
DEFAULT_MARK_SCALE: Final = 5.3
#: Added to log1p(m), so that an author without followers still excites a little: a mark of 0 would let the
#: intensity be 0 before an event, and the likelihood with it.
LOG_MARK_OFFSET: Final = 0.1


@dataclass(frozen=True)
class HawkesModel:
    """Marks, prior and bounds of the Hawkes process; plain numbers, equal by value.

    The parameters are p and beta (1/s) of ``lambda(t) = sum p x_i beta exp(-beta (t - t_i))`` with x the
    transformed marks; ``n_star = p * expected_mark`` is the branching factor.

    Raises ``ValueError`` for bounds that are empty or not positive, a prior mean outside of them (it is what
    a failed fit falls back to), or a precision that is not positive definite.
    """

    mark_kind: MarkKind
    """``at_least_one``: x = max(m, 1). ``log1p``: x = (log1p(m) + .1) / mark_scale."""
    mark_scale: float
    expected_mark: float
    """Mean of x over all users."""
    prior_mean: Pair
    """Shape (2,), of (log p, log beta)."""
    prior_precision: tuple[Pair, Pair]
    """Shape (2, 2), inverse covariance of (log p, log beta)."""
    n_star_bounds: Pair
    beta_bounds: Pair
    """Per second."""

    def __post_init__(self) -> None:
        (a, b), (c, d) = self.prior_precision
        if not (a > 0 and b == c and a * d - b * c > 0):
            raise ValueError("the prior's precision must be symmetric and positive definite")
        if self.mark_kind not in {"at_least_one", "log1p"} or not (self.mark_scale > 0 < self.expected_mark):
            raise ValueError("marks need a known kind, a positive scale and a positive mean")
        for name, (low, high) in {"n_star": self.n_star_bounds, "beta": self.beta_bounds}.items():
            if not 0 < low < high < math.inf:
                raise ValueError(f"bounds of {name} must be positive and rising, not {low}, {high}")
        if self.n_star_bounds[1] >= 1:
            raise ValueError("a branching factor of 1 or more has no expected size")
        u_low, u_high, v_low, v_high = self.log_box
        if not (u_low < self.prior_mean[0] < u_high and v_low < self.prior_mean[1] < v_high):
            raise ValueError("the prior's mean must lie within the bounds")

    @property
    def log_box(self) -> tuple[float, float, float, float]:
        """Lowest and highest log p, then lowest and highest log beta."""
        low_p, high_p = (math.log(bound / self.expected_mark) for bound in self.n_star_bounds)
        return low_p, high_p, math.log(self.beta_bounds[0]), math.log(self.beta_bounds[1])

    @property
    def log_prior(self) -> tuple[float, float, float, float, float]:
        """Mean of log p, of log beta, then the precision's (0, 0), (0, 1) and (1, 1): for compiled code."""
        (precision_pp, precision_pb), (_, precision_bb) = self.prior_precision
        return *self.prior_mean, precision_pp, precision_pb, precision_bb

    def transformed(self, followers: Floats) -> Floats:
        """Marks x of follower counts, of the same shape; positive wherever the count is 0 or more.

        >>> REFERENCE.transformed(np.array([0.0, 0.5, 40.0])).tolist()
        [1.0, 1.0, 40.0]
        >>> rescaled().transformed(np.array([0.0, 200.0])).round(4).tolist()
        [0.0189, 1.0195]
        """
        if self.mark_kind == "at_least_one":
            return np.maximum(followers, 1.0)
        with np.errstate(invalid="ignore", divide="ignore"):  # below -1: NaN, which the fit flags
            marks: Floats = (np.log1p(followers) + LOG_MARK_OFFSET) / self.mark_scale
        return marks


def moment_matched_prior(means: Pair, deviations: Pair, correlation: float) -> tuple[Floats, Floats]:
    """Mean (2,) and covariance (2, 2) of (log p, log beta) for a log-normal (p, beta) of these moments.

    With Q the covariance of (p, beta) and s its mean: ``Sigma_jk = log(Q_jk / (s_j s_k) + 1)`` and
    ``mean = log s - diag(Sigma) / 2``.

    >>> mean, covariance = moment_matched_prior((0.02, 0.0002), (0.01, 0.001), -0.1)
    >>> mean.round(4).tolist(), covariance.round(4).tolist()
    ([-4.0236, -10.1462], [[0.2231, -0.2877], [-0.2877, 3.2581]])
    """
    s = np.array(means)
    scale = np.array(deviations)
    Q = np.outer(scale, scale) * np.array([[1.0, correlation], [correlation, 1.0]])
    covariance: Floats = np.log(Q / np.outer(s, s) + 1.0)
    mean: Floats = np.log(s) - np.diag(covariance) / 2.0
    return mean, covariance


def pareto_mean_mark(alpha: float, mu: float) -> float:
    """Mean of marks with density ∝ m^-alpha from mu on: mu (alpha - 1) / (alpha - 2).

    >>> round(pareto_mean_mark(2.4, 10.0), 9)
    35.0
    """
    if alpha <= 2:
        raise ValueError("a Pareto law needs alpha > 2 to have a mean")
    return mu * (alpha - 1.0) / (alpha - 2.0)


def _reference() -> HawkesModel:
    mean, covariance = moment_matched_prior((0.02, 0.0002), (0.01, 0.001), -0.1)
    (variance_p, shared), (_, variance_b) = covariance.tolist()
    det = variance_p * variance_b - shared * shared
    return HawkesModel(
        mark_kind="at_least_one",
        mark_scale=1.0,
        expected_mark=pareto_mean_mark(2.4, 10.0),
        prior_mean=(float(mean[0]), float(mean[1])),
        prior_precision=((variance_b / det, -shared / det), (-shared / det, variance_p / det)),
        n_star_bounds=(1e-6, 1.0 - 1e-6),
        beta_bounds=(1.0 / (10.0 * DAY_S), 1.0 / 60.0),
    )


#: The lab's process: Pareto marks, its prior, n* < 1. On real followers it explodes: see ``rescaled``.
REFERENCE: Final = _reference()


def rescaled(mark_scale: float = DEFAULT_MARK_SCALE) -> HawkesModel:
    """The process for real followers: marks on a log scale with mean 1, n* about .6, beta about 1/30 min.

    ``mark_scale`` is the data set's mean of log1p(m) + .1.

    >>> rescaled().expected_mark, rescaled().n_star_bounds
    (1.0, (0.0001, 0.98))
    """
    return HawkesModel(
        mark_kind="log1p",
        mark_scale=mark_scale,
        expected_mark=1.0,
        prior_mean=(math.log(0.6), math.log(1.0 / 1800.0)),
        prior_precision=((1.0 / 0.6**2, 0.0), (0.0, 1.0 / 1.5**2)),
        n_star_bounds=(1e-4, 0.98),
        beta_bounds=(1.0 / (10.0 * DAY_S), 1.0 / 20.0),
    )
