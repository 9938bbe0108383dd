"""Samples and cascades with known properties."""

from __future__ import annotations

import numpy as np

from udfs.forest.features import FEATURES
from udfs.forest.samples import Samples
from udfs.forest.train import TreeOptions, grow
from udfs.forest.trees import Trees
from udfs.forest.window_model import WindowModel, predict
from udfs.ragged import Floats, Ragged


def some_samples(count: int, seed: int, noise: float = 0.3) -> Samples:
    """Samples whose log(N / n) depends on three columns, and on chance; no prediction was made with trees."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, len(FEATURES)))
    y = np.abs(1.0 + 0.6 * X[:, 0] + 0.4 * X[:, 5] * X[:, 1] + noise * rng.normal(size=count))
    n_obs = rng.integers(10, 200, size=count).astype(np.float64)
    popularity = n_obs * np.exp(y)
    unknown = np.full(count, np.nan)
    return Samples(X, n_obs, popularity, 3.0 * n_obs, popularity * 2.0, unknown, unknown)


def as_predicted_by(model: WindowModel, samples: Samples) -> Samples:
    """The same samples, had this model been there when their windows closed."""
    answers = predict(model, samples.X, samples.n_obs)
    return Samples(
        samples.X,
        samples.n_obs,
        samples.popularity,
        answers.n_tot,
        samples.n_tot_hawkes,
        answers.mid,
        answers.half,
    )


def some_trees(count: int = 120, seed: int = 1, n_trees: int = 20) -> Trees:
    samples = some_samples(count, seed)
    return grow(samples.X, samples.log_ratio, TreeOptions(n_trees), seed)


def some_cascades(count: int, seed: int, window_s: float, max_size: int = 60) -> Ragged:
    """Cascades of 1 to ``max_size`` events, some at the same second, some without followers."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, max_size + 1, size=count)
    times = [np.sort(np.floor(rng.uniform(0.0, window_s, size))) for size in sizes]
    marks = [np.floor(np.exp(rng.normal(4.0, 3.0, size))) for size in sizes]
    for t in times:
        t[0] = 0.0
    return Ragged.from_lists([t.tolist() for t in times], [m.tolist() for m in marks])


def constant(value: float, count: int) -> Floats:
    return np.full(count, value)
