import math

import numpy as np
import pytest
from scipy.integrate import quad

from udfs.hawkes.likelihood import log_posterior, safe_factors, statistics
from udfs.hawkes.model import REFERENCE, rescaled

MODELS = [pytest.param(REFERENCE, id="reference"), pytest.param(rescaled(), id="rescaled")]


def random_cascade(seed, n=30, window_s=600.0):
    rng = np.random.default_rng(seed)
    times_s = np.append(0.0, np.sort(rng.uniform(0.0, window_s, n - 1)))
    return times_s, np.floor(np.exp(rng.normal(5.0, 1.5, n)))


def intensity(t, times_s, marks, p, beta):
    return sum(p * x * beta * math.exp(-beta * (t - s)) for s, x in zip(times_s, marks, strict=True))


def direct(times_s, followers, window_s, model, log_p, log_beta):
    """The definition in O(n^2): log intensity at each retweet, less each event's compensator."""
    p, beta = math.exp(log_p), math.exp(log_beta)
    x = model.transformed(followers)
    logs = sum(math.log(intensity(times_s[i], times_s[:i], x[:i], p, beta)) for i in range(1, len(x)))
    compensator = p * np.sum(-np.expm1(-beta * (window_s - times_s)) * x)
    away = np.array([log_p, log_beta]) - model.prior_mean
    return logs - compensator - 0.5 * away @ np.array(model.prior_precision) @ away


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", range(5))
def test_value_is_that_of_the_intensity_summed_directly(model, seed):
    rng = np.random.default_rng(100 + seed)
    times_s, followers = random_cascade(seed)
    log_p, log_beta = rng.uniform(*model.log_box[:2]), rng.uniform(*model.log_box[2:])
    found = log_posterior(times_s, followers, 600.0, model, log_p, log_beta).value
    assert found == pytest.approx(direct(times_s, followers, 600.0, model, log_p, log_beta), rel=1e-11)


def test_compensator_is_the_integral_of_the_intensity():
    times_s, followers = random_cascade(7, n=5)
    p, beta = 0.3, 1 / 200
    x = rescaled().transformed(followers)
    edges = [*times_s, 600.0]
    integral = sum(
        quad(intensity, edges[i], edges[i + 1], args=(times_s[: i + 1], x[: i + 1], p, beta))[0]
        for i in range(5)
    )
    compensator = statistics(math.log(beta), times_s, x, 600.0, safe_factors(x))[3]
    assert p * compensator == pytest.approx(integral, rel=1e-10)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", range(8))
def test_gradient_and_hessian_agree_with_finite_differences(model, seed):
    rng = np.random.default_rng(seed)
    times_s, followers = random_cascade(seed, n=int(rng.integers(2, 60)))
    times_s[-1] = times_s[-2]  # a tie
    low_p, high_p, low_beta, high_beta = model.log_box
    at = np.array([rng.uniform(low_p + 3.0, high_p), rng.uniform(low_beta, high_beta)])

    def look(x):
        return log_posterior(times_s, followers, 600.0, model, x[0], x[1])

    here, h = look(at), 1e-5
    steps = h * np.eye(2)
    gradient = [(look(at + step).value - look(at - step).value) / (2 * h) for step in steps]
    hessian = [(look(at + step).gradient - look(at - step).gradient) / (2 * h) for step in steps]
    scale = 1.0 + abs(here.value)
    np.testing.assert_allclose(here.gradient, gradient, rtol=1e-6, atol=1e-8 * scale)
    np.testing.assert_allclose(here.hessian, hessian, rtol=1e-6, atol=1e-8 * scale)


def test_a_long_silence_does_not_underflow():
    times_s, followers = np.array([0.0, 600_000.0]), np.array([100.0, 100.0])
    found = log_posterior(times_s, followers, 604_800.0, rescaled(), math.log(0.5), math.log(1 / 20))
    assert np.isfinite(found.value)
    assert np.isfinite(found.gradient).all()
    assert found.value == pytest.approx(-30_000.0, rel=0.01)


@pytest.mark.parametrize("exponent", [-3, 0, 6, 60])
def test_products_of_many_marks_neither_overflow_nor_underflow(exponent):
    rng = np.random.default_rng(3)
    times_s = np.append(0.0, np.sort(rng.uniform(0.0, 600.0, 9_999)))
    marks = 10.0**exponent * rng.uniform(0.5, 2.0, 10_000)
    factors = safe_factors(marks)
    log_beta = math.log(1 / 30)
    found = statistics(log_beta, times_s, marks, 600.0, factors)
    one_by_one = statistics(log_beta, times_s, marks, 600.0, 1)
    assert factors >= 1
    np.testing.assert_allclose(found, one_by_one, rtol=1e-11)
    assert np.isfinite(found).all()


def test_equal_times_excite_each_other_in_their_order():
    times_s, followers = np.array([0.0, 60.0, 60.0, 60.0]), np.array([500.0, 0.0, 10.0, 0.0])
    found = log_posterior(times_s, followers, 600.0, REFERENCE, -4.0, -6.0).value
    assert found == pytest.approx(direct(times_s, followers, 600.0, REFERENCE, -4.0, -6.0), rel=1e-12)
