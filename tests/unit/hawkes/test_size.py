import numpy as np
import pytest

from udfs.hawkes.size import LEAST_G1, absolute_relative_error, correction_target, expected_size


def test_correction_target_turns_the_prediction_into_the_popularity():
    rng = np.random.default_rng(1)
    n_obs, g1, n_star = rng.integers(1, 500, 1_000), rng.exponential(20.0, 1_000), rng.uniform(0, 0.99, 1_000)
    popularity = n_obs + rng.integers(0, 5_000, 1_000)
    factor = correction_target(popularity, n_obs, g1, n_star)
    n_supp = expected_size(n_obs, g1, n_star) - n_obs
    np.testing.assert_allclose(n_obs + factor * n_supp, popularity, rtol=1e-9)


def test_expected_size_is_the_sum_over_all_generations_to_come():
    generations = 4.0 * 0.6 ** np.arange(200)
    assert expected_size(10, 4.0, 0.6) == pytest.approx(10 + generations.sum())


@pytest.mark.parametrize("g1", [0.0, 1e-300, LEAST_G1 / 2])
def test_correction_target_of_a_process_that_expects_nothing_is_neutral(g1):
    assert correction_target([100], [20], [g1], [0.5]).tolist() == [1.0]


def test_error_is_relative_to_the_popularity():
    assert absolute_relative_error([0.0, 100.0, 300.0], [100, 100, 100]).tolist() == [1.0, 0.0, 2.0]


@pytest.mark.parametrize("popularity", [0.0, -3.0, np.nan])
def test_a_popularity_below_one_is_refused(popularity):
    with pytest.raises(ValueError, match="1 or more"):
        absolute_relative_error([1.0, 2.0], [10.0, popularity])
