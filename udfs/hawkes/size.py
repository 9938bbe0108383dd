"""From a fit to a popularity, and from a popularity to what a forest learns and how wrong it was."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from udfs.ragged import Floats

#: Below this the process expects no further event (a 20,000th of one at n* = .98), and no factor could change
#: its answer.
LEAST_G1: Final = 1e-6


def expected_size(n_obs: ArrayLike, g1: ArrayLike, n_star: ArrayLike) -> Floats:
    """Popularity the process expects: n_obs + G1 / (1 - n*), of the arrays' shape.

    ``g1`` is the expected number of direct retweets still to come; each brings 1 / (1 - n*) events, itself
    counted.

    >>> expected_size([20, 50], [3.0, 0.0], [0.5, 0.9]).tolist()
    [26.0, 50.0]
    """
    return np.asarray(n_obs, dtype=np.float64) + np.asarray(g1) / (1.0 - np.asarray(n_star))


def correction_target(popularity: ArrayLike, n_obs: ArrayLike, g1: ArrayLike, n_star: ArrayLike) -> Floats:
    """Factor W = (N - n_obs)(1 - n*) / G1 that makes n_obs + W n_supp the true popularity.

    Where G1 is below ``LEAST_G1`` every W gives n_obs: the answer is then 1, no correction.

    >>> correction_target([32, 50], [20, 50], [3.0, 0.0], [0.5, 0.9]).tolist()
    [2.0, 1.0]
    """
    g1 = np.asarray(g1, dtype=np.float64)
    missing = np.asarray(popularity, dtype=np.float64) - np.asarray(n_obs)
    known = g1 >= LEAST_G1
    factor: Floats = np.where(known, missing * (1.0 - np.asarray(n_star)) / np.where(known, g1, 1.0), 1.0)
    return factor


def absolute_relative_error(predicted: ArrayLike, popularity: ArrayLike) -> Floats:
    """ARE, |predicted - popularity| / popularity; raises ``ValueError`` for a popularity below 1.

    >>> absolute_relative_error([150.0, 80.0], [100, 100]).tolist()
    [0.5, 0.2]
    """
    popularity = np.asarray(popularity, dtype=np.float64)
    if not np.all(popularity >= 1):
        raise ValueError("a cascade counts at least its root: popularity must be 1 or more")
    are: Floats = np.abs(np.asarray(predicted) - popularity) / popularity
    return are
