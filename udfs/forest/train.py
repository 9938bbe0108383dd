"""From labelled samples to the model of a window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import ceil

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from udfs.forest.ratios import Ratios
from udfs.forest.samples import Samples
from udfs.forest.scoring import quantiles
from udfs.forest.trees import Trees
from udfs.forest.window_model import BLEND_SAMPLES, WindowModel
from udfs.hawkes.size import absolute_relative_error
from udfs.ragged import Floats

#: More samples bring little, and the newest are the most like what comes.
MAX_SAMPLES = 3000
#: From this many samples on, leaves hold at least 5 of them instead of 3.
SMALL_SAMPLES, SMALL_LEAF, LEAF = 200, 3, 5
#: Checked predictions that decide the calibration: at most, and at least (below, the quantile is too unsure).
MAX_SCORES, MIN_SCORES = 512, 64
#: The share of final sizes that the interval shall cover.
COVERAGE = 0.8
#: Fewer samples do not tell one option from another.
MIN_TUNING_SAMPLES = 160
#: Trees tell the options apart as well as the full number does, in less time.
TUNING_TREES = 50
_TUNING_FEATURES = (0.5, 0.25, 1.0)
_TUNING_LEAVES = (None, 3, 10)


@dataclass(frozen=True)
class TreeOptions:
    """How the trees are grown. Raises ValueError outside the ranges."""

    n_trees: int = 100
    """1 to 500."""
    max_features: float = 0.5
    """Share of the columns each node may ask for, above 0 and up to 1."""
    min_samples_leaf: int | None = None
    """1 to 1000; None for 3 below 200 samples, else 5."""

    def __post_init__(self) -> None:
        if not 1 <= self.n_trees <= 500:
            raise ValueError(f"n_trees is {self.n_trees}, must be 1 to 500")
        if not 0 < self.max_features <= 1:
            raise ValueError(f"max_features is {self.max_features}, must be above 0 and up to 1")
        if self.min_samples_leaf is not None and not 1 <= self.min_samples_leaf <= 1000:
            raise ValueError(f"min_samples_leaf is {self.min_samples_leaf}, must be 1 to 1000")


def train(samples: Samples, window_s: int, options: TreeOptions, seed: int) -> WindowModel:
    """Fit the model of one window to its newest samples, ``MAX_SAMPLES`` at most; the same for the same seed.

    Below ``BLEND_SAMPLES`` samples it has no trees, only their ratios; with none it is the cold model.
    """
    newest = samples.newest(MAX_SAMPLES)
    y = newest.log_ratio
    ratios = Ratios.of(y, window_s)
    if len(newest) < BLEND_SAMPLES:
        return WindowModel(window_s, len(newest), ratios, None, None)
    return WindowModel(window_s, len(newest), ratios, grow(newest.X, y, options, seed), calibration(samples))


def grow(X: Floats, y: Floats, options: TreeOptions, seed: int) -> Trees:
    """Grow the trees on X, shape (s, 22), and y = log(N / n), shape (s,)."""
    default_leaf = SMALL_LEAF if len(y) < SMALL_SAMPLES else LEAF
    forest = ExtraTreesRegressor(
        n_estimators=options.n_trees,
        max_features=options.max_features,
        min_samples_leaf=default_leaf if options.min_samples_leaf is None else options.min_samples_leaf,
        bootstrap=False,
        random_state=seed,
        n_jobs=1,
    )
    return Trees.from_forest(forest.fit(X, y), X, y)


def calibration(samples: Samples) -> float | None:
    """Return c: stretched by it, the newest intervals would have covered ``COVERAGE`` of their answers.

    Split conformal prediction (Lei et al., 2018) with the score |y - mid| / half of predictions that were
    made before their answer was known: the ceil(.8 (m + 1))-th smallest of m. None below ``MIN_SCORES``.
    """
    known = np.isfinite(samples.mid) & np.isfinite(samples.half) & (samples.half > 0)
    scores = (np.abs(samples.log_ratio - samples.mid)[known] / samples.half[known])[-MAX_SCORES:]
    m = len(scores)
    return None if m < MIN_SCORES else float(np.sort(scores)[ceil(COVERAGE * (m + 1)) - 1])


def tune(samples: Samples, seed: int) -> TreeOptions:
    """Choose options by the mean ARE on the newest 20 % of the samples, of trees grown on the rest.

    With fewer than ``MIN_TUNING_SAMPLES``, or where nothing is better, the defaults.
    """
    newest = samples.newest(MAX_SAMPLES)
    if len(newest) < MIN_TUNING_SAMPLES:
        return TreeOptions()
    split = len(newest) * 4 // 5
    past, future = newest.between(0, split), newest.between(split, len(newest))

    def mean_are(options: TreeOptions) -> float:
        trees = grow(past.X, past.log_ratio, options, seed)
        answer = future.n_obs * np.exp(quantiles(trees, future.X).are_optimal)
        return float(absolute_relative_error(answer, future.popularity).mean())

    grid = (
        TreeOptions(TUNING_TREES, share, leaf) for share, leaf in product(_TUNING_FEATURES, _TUNING_LEAVES)
    )
    return replace(min(grid, key=mean_are), n_trees=TreeOptions().n_trees)
