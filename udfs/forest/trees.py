"""Extremely randomised trees as plain arrays (Geurts, Ernst and Wehenkel, 2006)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from udfs.forest import archive
from udfs.forest.errors import ModelError
from udfs.forest.features import FEATURES
from udfs.forest.samples import MAX_LOG_RATIO
from udfs.ragged import Floats

Indices = NDArray[np.int32]

#: The arrays of a stored forest and their dtypes.
LAYOUT: archive.Layout = {
    "roots": "<i4",
    "feature": "<i4",
    "threshold": "<f8",
    "left": "<i4",
    "right": "<i4",
    "row_offsets": "<i4",
    "rows": "<i4",
    "y": "<f8",
}


@dataclass(frozen=True)
class Trees:
    """b trees with v nodes in all, grown on s samples.

    The nodes of a tree lie together, its root first, each child after its parent. A leaf keeps which training
    rows fell into it, so that a forest answers with a distribution, not only a mean (Meinshausen, 2006).
    """

    roots: Indices
    """Shape (b,): the node each tree begins with."""
    feature: Indices
    """Shape (v,): the column a node asks for, -1 for a leaf."""
    threshold: Floats
    """Shape (v,): a row goes left where float32(x) <= threshold; 0 for a leaf."""
    left: Indices
    """Shape (v,): the node for smaller values, -1 for a leaf."""
    right: Indices
    """Shape (v,): the node for larger values, -1 for a leaf."""
    row_offsets: Indices
    """Shape (v + 1,): node i holds ``rows[row_offsets[i]:row_offsets[i + 1]]``; nothing unless a leaf."""
    rows: Indices
    """Shape (b s,): positions in ``y``."""
    y: Floats
    """Shape (s,): the targets of the training rows, rising."""

    @classmethod
    def from_forest(cls, forest: ExtraTreesRegressor, X: Floats, y: Floats) -> Trees:
        """Take the arrays out of a forest fitted, without bootstrap, to X, shape (s, 22), and y, (s,)."""
        order = np.argsort(y, kind="stable")
        grown = [estimator.tree_ for estimator in forest.estimators_]
        sizes = [tree.node_count for tree in grown]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        shift = np.repeat(starts, sizes)
        left, right, feature, threshold = (
            np.concatenate([getattr(tree, name) for tree in grown])
            for name in ("children_left", "children_right", "feature", "threshold")
        )
        leaf = left < 0
        fallen = (forest.apply(X[order]) + starts).T.ravel()
        by_leaf = np.argsort(fallen, kind="stable")
        counts = np.bincount(fallen, minlength=len(left))
        return cls(
            roots=starts.astype(np.int32),
            feature=np.where(leaf, -1, feature).astype(np.int32),
            threshold=np.where(leaf, 0.0, threshold),
            left=np.where(leaf, -1, left + shift).astype(np.int32),
            right=np.where(leaf, -1, right + shift).astype(np.int32),
            row_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            rows=(by_leaf % len(y)).astype(np.int32),
            y=y[order],
        )

    @classmethod
    def from_arrays(cls, arrays: archive.Arrays) -> Trees:
        """Build from stored arrays. Raises ModelError where they are no forest."""
        trees = cls(**{name: arrays[name] for name in LAYOUT})
        _check_shapes(trees)
        _check_nodes(trees)
        _check_rows(trees)
        return trees

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, of the dtypes of ``LAYOUT``."""
        return {field.name: getattr(self, field.name).astype(LAYOUT[field.name]) for field in fields(self)}

    @classmethod
    def from_bytes(cls, data: bytes) -> Trees:
        """Read what ``to_bytes`` wrote. Raises ModelError for anything that is no sound forest."""
        return cls.from_arrays(archive.unpack(data, [LAYOUT]))

    def to_bytes(self) -> bytes:
        """Return an npz file of numbers; no pickle."""
        return archive.pack(self.arrays())


def _require(holds: bool | np.bool, problem: str) -> None:
    if not holds:
        raise ModelError(f"the model's trees are damaged: {problem}")


def _check_shapes(trees: Trees) -> None:
    nodes, s = len(trees.feature), len(trees.y)
    same = {len(trees.threshold), len(trees.left), len(trees.right), len(trees.row_offsets) - 1}
    _require(len(trees.roots) > 0 and nodes > 0 and s > 0, "an array is empty")
    _require(same == {nodes}, "the arrays of the nodes differ in length")
    _require(len(trees.rows) == len(trees.roots) * s, "each tree must hold every training row once")
    _require(np.isfinite(trees.y).all() and np.isfinite(trees.threshold).all(), "a number is not finite")
    _require((np.diff(trees.y) >= 0).all(), "the targets are not sorted")
    _require(trees.y[0] >= 0 and trees.y[-1] <= MAX_LOG_RATIO, f"a target is outside 0 to {MAX_LOG_RATIO}")


def _check_nodes(trees: Trees) -> None:
    """Each walk must end: children come after their parent, in the same tree, and have one parent only."""
    nodes = len(trees.feature)
    _require(trees.roots[0] == 0 and (np.diff(trees.roots) > 0).all() and trees.roots[-1] < nodes, "roots")
    leaf, number = trees.left == -1, np.arange(nodes)
    _require(
        (leaf == (trees.right == -1)).all() and (leaf == (trees.feature == -1)).all(), "a node is half a leaf"
    )
    ends = np.append(trees.roots[1:], nodes)[np.searchsorted(trees.roots, number, side="right") - 1]
    inner = ~leaf
    for child in (trees.left, trees.right):
        inside = (child[inner] > number[inner]) & (child[inner] < ends[inner])
        _require(inside.all(), "a child lies outside its tree or before its parent")
    feature = trees.feature[inner]
    _require(
        ((feature >= 0) & (feature < len(FEATURES))).all(), "a node asks for a column that does not exist"
    )
    parents = np.bincount(np.concatenate([trees.left[inner], trees.right[inner]]), minlength=nodes)
    expected = np.ones(nodes, dtype=np.int64)
    expected[trees.roots] = 0
    _require((parents == expected).all(), "a node has no parent or two")


def _check_rows(trees: Trees) -> None:
    s, offsets = len(trees.y), trees.row_offsets
    _require(
        offsets[0] == 0 and offsets[-1] == len(trees.rows), "the rows of the leaves do not fill their array"
    )
    held = np.diff(offsets.astype(np.int64))
    _require(
        ((held > 0) == (trees.left == -1)).all() and (held >= 0).all(),
        "an empty leaf, or an inner node with rows",
    )
    _require((offsets[trees.roots] == np.arange(len(trees.roots)) * s).all(), "a tree lacks a training row")
    per_tree = np.sort(trees.rows.reshape(-1, s), axis=1)
    _require(
        (per_tree == np.arange(s)).all(), "a tree holds a training row twice or a row that does not exist"
    )
