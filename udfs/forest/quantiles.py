"""Quantiles of weighted values."""

from __future__ import annotations

import numpy as np

from udfs.ragged import Floats


def weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the smallest value below or at which lies the share ``level`` of the weight.

    At level .5 it minimises ``sum_i weights_i |a - values_i|`` over a; with weights 1 / values_i that is the
    mean absolute relative error of answering a everywhere.

    >>> weighted_quantile(np.array([4.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0]), 0.5)
    2.0
    >>> weighted_quantile(np.array([4.0, 1.0, 2.0]), np.array([0.25, 1.0, 0.5]), 0.5)
    1.0
    """
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    position = int(np.searchsorted(cumulative, level * cumulative[-1], side="left"))
    return float(values[order[min(position, len(values) - 1)]])
