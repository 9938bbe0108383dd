"""What the trees say about new rows: the training targets, weighted by leaf, and quantiles of that pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from udfs.forest.features import FEATURES
from udfs.forest.trees import Indices, Trees
from udfs.ragged import Floats, Ints


class _Forest(NamedTuple):
    """The arrays of ``Trees`` that a walk needs, as Numba takes them."""

    roots: Indices
    feature: Indices
    threshold: Floats
    left: Indices
    right: Indices
    row_offsets: Indices
    rows: Indices


@dataclass(frozen=True)
class Quantiles:
    """Of y = log(N / n), for k rows; each shape (k,)."""

    are_optimal: Floats
    """The median under weights w exp(-y): n exp of it has the least expected absolute relative error."""
    median: Floats
    """The median under the weights w."""
    low: Floats
    """The 10 % quantile under the weights w."""
    high: Floats
    """The 90 % quantile under the weights w."""


def quantiles(trees: Trees, X: Floats) -> Quantiles:
    """Score k rows, X of shape (k, 22).

    The weight of training row i for a row x is its mean over the trees of [same leaf] / (rows in that leaf).
    """
    rows = _as_rows(X)
    out = np.empty((4, len(rows)))
    _score(_forest(trees), trees.y, np.exp(-trees.y), rows, out)
    return Quantiles(*out)


def pooled_weights(trees: Trees, X: Floats) -> Floats:
    """Return the weights of the s training rows (in the order of ``trees.y``) for k rows: shape (k, s)."""
    rows = _as_rows(X)
    out = np.zeros((len(rows), len(trees.y)))
    for weights, row in zip(out, rows, strict=True):
        _pool(_forest(trees), row, weights)
    return out


def leaves(trees: Trees, X: Floats) -> Ints:
    """Return the node each tree ends in, counted from the tree's root: shape (k, b)."""
    rows = _as_rows(X)
    out = np.empty((len(rows), len(trees.roots)), dtype=np.int64)
    _leaves(_forest(trees), rows, out)
    return out


def _as_rows(X: Floats) -> NDArray[np.float32]:
    """Cast to float32, as scikit-learn does before it compares: the leaves would differ otherwise."""
    if X.ndim != 2 or X.shape[1] != len(FEATURES):
        raise ValueError(f"X has the shape {X.shape}, not (rows, {len(FEATURES)})")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(X, dtype=np.float32)


def _forest(trees: Trees) -> _Forest:
    return _Forest(*(getattr(trees, name) for name in _Forest._fields))


@njit(cache=True, nogil=True)
def _leaf(forest: _Forest, root: int, row: NDArray[np.float32]) -> int:
    node = root
    while forest.left[node] >= 0:
        goes_left = np.float64(row[forest.feature[node]]) <= forest.threshold[node]
        node = forest.left[node] if goes_left else forest.right[node]
    return node


@njit(cache=True, nogil=True)
def _leaves(forest: _Forest, X: NDArray[np.float32], out: Ints) -> None:
    for i in range(len(X)):
        for b in range(len(forest.roots)):
            out[i, b] = _leaf(forest, forest.roots[b], X[i]) - forest.roots[b]


@njit(cache=True, nogil=True)
def _pool(forest: _Forest, row: NDArray[np.float32], weights: Floats) -> None:
    """Add the weights of one row to ``weights``, shape (s,), which starts at 0."""
    for root in forest.roots:
        leaf = _leaf(forest, root, row)
        first, end = forest.row_offsets[leaf], forest.row_offsets[leaf + 1]
        share = 1.0 / ((end - first) * len(forest.roots))
        for position in range(first, end):
            weights[forest.rows[position]] += share


@njit(cache=True, nogil=True)
def _crossing(y: Floats, weights: Floats, target: float) -> float:
    """Return the first y at which the sum of the weights reaches the target."""
    total = 0.0
    for i in range(len(y)):
        total += weights[i]
        if total >= target:
            return float(y[i])
    return float(y[-1])


@njit(cache=True, nogil=True)
def _score(forest: _Forest, y: Floats, inverse_ratio: Floats, X: NDArray[np.float32], out: Floats) -> None:
    """Write the four quantiles of each row into ``out``, shape (4, k), in the order of ``Quantiles``."""
    weights = np.empty(len(y))
    tilted = np.empty(len(y))
    for i in range(len(X)):
        weights[:] = 0.0
        _pool(forest, X[i], weights)
        total, tilted_total = 0.0, 0.0
        for j in range(len(y)):
            tilted[j] = weights[j] * inverse_ratio[j]
            total += weights[j]
            tilted_total += tilted[j]
        out[0, i] = _crossing(y, tilted, 0.5 * tilted_total)
        out[1, i] = _crossing(y, weights, 0.5 * total)
        out[2, i] = _crossing(y, weights, 0.1 * total)
        out[3, i] = _crossing(y, weights, 0.9 * total)
