import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from tests.unit.forest.builders import some_samples, some_trees
from udfs.forest.features import FEATURES
from udfs.forest.quantiles import weighted_quantile
from udfs.forest.scoring import leaves, pooled_weights, quantiles
from udfs.forest.trees import Trees


def fitted(count=300, seed=4, n_trees=15):
    samples = some_samples(count, seed)
    forest = ExtraTreesRegressor(n_trees, min_samples_leaf=3, max_features=0.5, random_state=seed)
    forest.fit(samples.X, samples.log_ratio)
    return forest, samples


def weights_from_scikit_learn(forest, samples, X):
    """The same weights from the forest's own leaves; shape (k, s), in the order of the sorted targets."""
    training = forest.apply(samples.X[np.argsort(samples.log_ratio, kind="stable")])
    weights = np.zeros((len(X), len(training)))
    for b, leaf in enumerate(forest.apply(X).T):
        same = training[:, b] == leaf[:, None]
        weights += np.where(same, 1.0 / (same.sum(axis=1, keepdims=True) * training.shape[1]), 0.0)
    return weights


def test_leaves_equal_those_of_scikit_learn():
    forest, samples = fitted()
    trees = Trees.from_forest(forest, samples.X, samples.log_ratio)
    X = np.concatenate([samples.X, some_samples(500, 5).X])
    np.testing.assert_array_equal(leaves(trees, X), forest.apply(X))


def test_leaves_equal_those_of_scikit_learn_on_either_side_of_each_threshold():
    forest, samples = fitted(n_trees=3)
    for tree in forest.estimators_[1:]:  # so that a row can lie exactly on a threshold
        tree.tree_.threshold[:] = tree.tree_.threshold.astype(np.float32)
    trees = Trees.from_forest(forest, samples.X, samples.log_ratio)
    asked = trees.threshold[trees.feature >= 0]
    near = np.concatenate([asked, np.nextafter(asked, np.inf), np.nextafter(asked, -np.inf), asked + 1e-9])
    X = np.repeat(near[:, None], len(FEATURES), axis=1)
    np.testing.assert_array_equal(leaves(trees, X), forest.apply(X))


def test_pooled_weights_sum_to_1():
    trees, X = some_trees(), some_samples(50, 6).X
    np.testing.assert_allclose(pooled_weights(trees, X).sum(axis=1), 1.0, rtol=1e-12)


def test_scoring_equals_a_slow_oracle():
    forest, samples = fitted()
    trees = Trees.from_forest(forest, samples.X, samples.log_ratio)
    X = some_samples(200, 7).X
    weights = weights_from_scikit_learn(forest, samples, X)
    np.testing.assert_allclose(pooled_weights(trees, X), weights, atol=1e-15)
    got, y = quantiles(trees, X), np.sort(samples.log_ratio)
    for i, row in enumerate(weights):
        assert got.are_optimal[i] == weighted_quantile(y, row * np.exp(-y), 0.5)
        assert got.median[i] == weighted_quantile(y, row, 0.5)
        assert got.low[i] == weighted_quantile(y, row, 0.1)
        assert got.high[i] == weighted_quantile(y, row, 0.9)


def test_the_answer_has_the_least_expected_relative_error():
    trees, X = some_trees(), some_samples(40, 8).X
    weights, got = pooled_weights(trees, X), quantiles(trees, X).are_optimal
    # The objective is linear between the targets, so a target is a minimum; the grid is there all the same.
    grid = np.concatenate([np.exp(trees.y), np.linspace(1.0, np.exp(trees.y[-1]), 500)])

    def expected_are(answer, row):
        return (row * np.abs(answer - np.exp(trees.y)) / np.exp(trees.y)).sum()

    for row, y in zip(weights, got, strict=True):
        least = min(expected_are(answer, row) for answer in grid)
        assert expected_are(np.exp(y), row) <= least * (1 + 1e-12)


def test_quantiles_are_in_order():
    got = quantiles(some_trees(), some_samples(300, 9).X)
    assert (got.low <= got.median).all()
    assert (got.median <= got.high).all()
    assert (got.are_optimal <= got.median).all()


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match="22"):
        quantiles(some_trees(), np.zeros((3, 21)))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e300])
def test_a_row_that_is_not_finite_still_ends_in_a_leaf(value):
    got = quantiles(some_trees(), np.full((1, 22), value))
    assert np.isfinite(got.are_optimal).all()
