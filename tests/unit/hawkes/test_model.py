from dataclasses import replace

import numpy as np
import pytest

from udfs.hawkes.model import REFERENCE, moment_matched_prior, pareto_mean_mark, rescaled


def test_reference_prior_has_the_published_moments():
    mean, covariance = moment_matched_prior((0.02, 0.0002), (0.01, 0.001), -0.1)
    np.testing.assert_allclose(mean, [-4.0236, -10.1462], atol=5e-5)
    np.testing.assert_allclose(covariance, [[0.2231, -0.2877], [-0.2877, 3.2581]], atol=5e-5)
    np.testing.assert_allclose(np.linalg.inv(covariance), REFERENCE.prior_precision, rtol=1e-12)
    np.testing.assert_allclose(REFERENCE.prior_mean, mean, rtol=1e-15)


def test_moment_matched_prior_draws_have_the_moments_asked_for():
    mean, covariance = moment_matched_prior((0.5, 2.0), (0.1, 0.5), 0.4)
    draws = np.exp(np.random.default_rng(1).multivariate_normal(mean, covariance, 400_000))
    np.testing.assert_allclose(draws.mean(axis=0), [0.5, 2.0], rtol=0.005)
    np.testing.assert_allclose(draws.std(axis=0), [0.1, 0.5], rtol=0.01)
    assert np.corrcoef(draws.T)[0, 1] == pytest.approx(0.4, abs=0.01)


def test_reference_marks_are_at_least_one_and_their_mean_is_35():
    assert REFERENCE.transformed(np.array([0.0, 1.0, 17.0])).tolist() == [1.0, 1.0, 17.0]
    assert REFERENCE.expected_mark == pytest.approx(35.0)
    assert REFERENCE.n_star_bounds[1] < 1.0


def test_rescaled_prior_is_that_of_real_followers():
    model = rescaled(4.0)
    assert np.exp(model.prior_mean) == pytest.approx([0.6, 1 / 1800])
    assert np.linalg.inv(model.prior_precision) == pytest.approx(np.diag([0.36, 2.25]))
    assert model.beta_bounds == pytest.approx((1 / 864_000, 0.05))
    assert model.transformed(np.array([0.0, np.e - 1.0])) == pytest.approx([0.025, 0.275])


def test_models_of_the_same_numbers_are_equal_and_hashable():
    assert rescaled(5.3) == rescaled()
    assert len({rescaled(), rescaled(5.3), REFERENCE}) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"n_star_bounds": (0.5, 0.4)},
        {"n_star_bounds": (1e-4, 1.0)},
        {"beta_bounds": (0.0, 1.0)},
        {"prior_mean": (5.0, -7.0)},
        {"prior_precision": ((1.0, 2.0), (2.0, 1.0))},
        {"mark_scale": 0.0},
        {"mark_kind": "square"},
    ],
)
def test_a_model_that_cannot_be_fitted_is_refused(change):
    with pytest.raises(ValueError, match=r"must|need|branching"):
        replace(rescaled(), **change)


def test_pareto_marks_without_a_mean_are_refused():
    assert pareto_mean_mark(2.4, 10.0) == pytest.approx(35.0)
    with pytest.raises(ValueError, match="alpha > 2"):
        pareto_mean_mark(2.0, 10.0)
