import math
from dataclasses import fields

import numpy as np
import pytest
from scipy.special import lambertw

from tests.unit.hawkes.builders import powell, real_cascades, select, two_optima_cascade
from udfs.hawkes.fit import STATUSES, fit_map
from udfs.hawkes.likelihood import log_posterior, posterior_at, safe_factors, statistics
from udfs.hawkes.model import REFERENCE, rescaled
from udfs.hawkes.simulate import simulate
from udfs.ragged import Ragged

MODELS = [pytest.param(REFERENCE, id="reference"), pytest.param(rescaled(), id="rescaled")]
WINDOWS_S = [600.0, 1200.0]


def statuses(fits):
    return [STATUSES[status] for status in fits.status]


def assert_all_finite(fits):
    assert all(np.isfinite(getattr(fits, field.name)).all() for field in fields(fits))


@pytest.mark.parametrize("model", MODELS)
def test_no_simulated_fit_is_worse_than_powells(model):
    cascades = simulate(2_000, np.random.default_rng(11), min_size=10)
    short, long = select(cascades, range(1_000)), select(cascades, range(1_000, 2_000))
    for window_s, batch in zip(WINDOWS_S, (short, long), strict=True):
        seen = batch.observed_until(window_s)
        fits = fit_map(seen, window_s, model)
        rows = np.flatnonzero(seen.lengths >= 2)
        peaks = np.array([powell(seen, row, window_s, model)[0] for row in rows])
        assert len(rows) > 950
        assert np.max(peaks - fits.objective[rows]) <= 1e-6
        assert set(statuses(fits)) <= {"ok", "at_bound", "too_few_events"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("window_s", WINDOWS_S)
def test_no_real_fit_is_worse_than_powells(model, window_s):
    seen = real_cascades().observed_until(window_s)
    fits = fit_map(seen, window_s, model)
    peaks = np.array([powell(seen, row, window_s, model)[0] for row in range(len(seen))])
    assert len(seen) == 100
    assert np.max(peaks - fits.objective) <= 1e-6


@pytest.mark.parametrize("model", MODELS)
def test_no_point_of_a_fine_profile_is_higher_than_the_fit(model):
    """1,000 values of beta, each with its best p in closed form by Lambert's W."""
    seen = simulate(200, np.random.default_rng(12)).observed_until(600.0)
    fits = fit_map(seen, 600.0, model)
    for row in range(len(seen)):
        events = slice(seen.offsets[row], seen.offsets[row + 1])
        assert highest_of_grid(seen.times_s[events], seen.marks[events], model) <= fits.objective[row] + 1e-8


def highest_of_grid(times_s, followers, model):
    x = model.transformed(followers)
    log_beta = np.linspace(*model.log_box[2:], 1_000)
    c = np.array([statistics(v, times_s, x, 600.0, safe_factors(x))[3] for v in log_beta])
    mean_p, mean_beta, pp, pb, _ = model.log_prior
    pull = (len(x) - 1 - pb * (log_beta - mean_beta)) / pp + mean_p
    with np.errstate(over="ignore"):
        free = pull - lambertw(c / pp * np.exp(pull)).real
    log_p = np.clip(np.where(np.isfinite(free), free, model.log_box[1]), *model.log_box[:2])
    return max(
        posterior_at(u, v, times_s, x, 600.0, model.log_prior)[0]
        for u, v in zip(log_p, log_beta, strict=True)
    )


def test_the_higher_of_two_optima_is_found_where_powell_ends_in_the_lower():
    cascades = two_optima_cascade()
    fit = fit_map(cascades, 600.0, REFERENCE)
    value, log_p, _ = powell(cascades, 0, 600.0, REFERENCE)
    assert fit.objective[0] - value > 10.0
    assert fit.n_star[0] < 0.05
    assert 35.0 * math.exp(log_p) > 0.5


def test_real_cascades_have_several_optima_under_the_reference():
    seen = real_cascades().observed_until(600.0)
    fits = fit_map(seen, 600.0, REFERENCE)
    peaks = np.array([powell(seen, row, 600.0, REFERENCE)[0] for row in range(40)])
    assert np.sum(fits.objective[:40] - peaks > 1.0) > 5


@pytest.mark.parametrize("window_s", WINDOWS_S)
def test_rescaled_predictions_of_real_cascades_do_not_explode(window_s):
    seen = real_cascades().observed_until(window_s)
    fits = fit_map(seen, window_s, rescaled())
    assert np.max(fits.n_supp / seen.lengths) < 15.0
    assert set(statuses(fits)) <= {"ok", "at_bound"}


@pytest.mark.parametrize("model", MODELS)
def test_inner_fits_are_stationary_maxima(model):
    seen = simulate(200, np.random.default_rng(13)).observed_until(1200.0)
    fits = fit_map(seen, 1200.0, model)
    inner = np.flatnonzero(fits.status == STATUSES.index("ok"))
    assert len(inner) > 50
    for row in inner:
        events = slice(seen.offsets[row], seen.offsets[row + 1])
        at = (math.log(fits.p[row]), math.log(fits.beta[row]))
        here = log_posterior(seen.times_s[events], seen.marks[events], 1200.0, model, *at)
        assert here.value == pytest.approx(fits.objective[row], rel=1e-12)
        assert np.max(np.abs(np.linalg.solve(here.hessian, here.gradient))) < 1e-6
        assert np.linalg.eigvalsh(here.hessian).max() < 0.0


@pytest.mark.parametrize("model", MODELS)
def test_results_are_consistent_and_within_the_bounds(model):
    seen = simulate(500, np.random.default_rng(14)).observed_until(600.0)
    fits = fit_map(seen, 600.0, model)
    low, high = model.n_star_bounds
    assert np.all((fits.n_star >= low) & (fits.n_star <= high))
    assert np.all(
        (fits.beta >= model.beta_bounds[0] * 0.999999) & (fits.beta <= model.beta_bounds[1] * 1.000001)
    )
    np.testing.assert_allclose(fits.n_star, fits.p * model.expected_mark, rtol=1e-12)
    np.testing.assert_allclose(fits.n_supp, fits.g1 / (1.0 - fits.n_star), rtol=1e-12)
    x = model.transformed(seen.marks)
    row = np.repeat(np.arange(len(seen)), seen.lengths)
    weight = np.bincount(row, x * np.exp(-fits.beta[row] * (600.0 - seen.times_s)))
    np.testing.assert_allclose(fits.g1, fits.p * weight, rtol=1e-9)


def test_a_fit_does_not_depend_on_its_neighbours_or_on_how_the_window_is_given():
    seen = simulate(50, np.random.default_rng(15)).observed_until(600.0)
    together = fit_map(seen, 600.0, rescaled())
    backwards = fit_map(select(seen, range(49, -1, -1)), np.full(50, 600.0), rescaled())
    np.testing.assert_array_equal(together.objective, backwards.objective[::-1])
    np.testing.assert_array_equal(together.beta, backwards.beta[::-1])


def test_true_parameters_are_recovered_from_many_events():
    """A cascade of the model itself, by branching: p = .02, 35 followers each, n* = .7, delays of 300 s."""
    rng = np.random.default_rng(16)
    generation, followers = np.zeros(1), 50_000.0
    times = [generation]
    while len(generation):
        mothers = np.repeat(generation, rng.poisson(0.02 * followers, len(generation)))
        generation, followers = mothers + rng.exponential(300.0, len(mothers)), 35.0
        times.append(generation)
    times_s = np.sort(np.concatenate(times))
    cascade = Ragged.from_lists([times_s], [np.append(50_000.0, np.full(len(times_s) - 1, 35.0))])
    fit = fit_map(cascade.observed_until(7200.0), 7200.0, REFERENCE)
    assert statuses(fit) == ["ok"]
    assert fit.p[0] == pytest.approx(0.02, rel=0.1)
    assert 1.0 / fit.beta[0] == pytest.approx(300.0, rel=0.15)


def test_a_fit_on_a_bound_is_flagged_and_kept():
    times_s = np.linspace(0.0, 599.0, 300)
    fit = fit_map(Ragged.from_lists([times_s], [np.full(300, 10.0)]), 600.0, rescaled())
    assert statuses(fit) == ["at_bound"]
    assert fit.n_star[0] == pytest.approx(0.98)
    assert fit.n_supp[0] > 0.0


@pytest.mark.parametrize("model", MODELS)
def test_a_root_alone_and_an_empty_cascade_fall_back_to_the_priors_mode(model):
    fits = fit_map(Ragged.from_lists([[0.0], []], [[50.0], []]), 600.0, model)
    assert statuses(fits) == ["too_few_events"] * 2
    np.testing.assert_allclose(np.log(fits.p), model.prior_mean[0])
    np.testing.assert_allclose(np.log(fits.beta), model.prior_mean[1])
    assert fits.g1[0] > 0.0
    assert fits.g1[1] == 0.0
    assert_all_finite(fits)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("times_s", "followers"),
    [
        ([0.0, math.nan, 5.0], [1.0, 1.0, 1.0]),
        ([0.0, 1.0, math.inf], [1.0, 1.0, 1.0]),
        ([0.0, 1.0], [math.nan, 1.0]),
        ([0.0, 1.0], [1.0, math.inf]),
    ],
)
def test_what_is_no_number_is_flagged_and_leaves_its_neighbours_unharmed(model, times_s, followers):
    good = ([0.0, 10.0, 30.0, 200.0], [100.0, 5.0, 60.0, 0.0])
    cascades = Ragged.from_lists([good[0], times_s, good[0]], [good[1], followers, good[1]])
    fits = fit_map(cascades, 600.0, model)
    alone = fit_map(Ragged.from_lists([good[0]], [good[1]]), 600.0, model)
    assert statuses(fits)[1] == "not_finite"
    assert math.log(fits.p[1]) == pytest.approx(model.prior_mean[0])
    assert fits.n_supp[1] == 0.0
    assert fits.objective[[0, 2]].tolist() == alone.objective.tolist() * 2
    assert_all_finite(fits)


def test_a_window_that_is_no_number_is_flagged():
    cascades = Ragged.from_lists([[0.0, 1.0]] * 2, [[1.0, 1.0]] * 2)
    fits = fit_map(cascades, np.array([math.nan, 600.0]), rescaled())
    assert statuses(fits)[0] == "not_finite"
    assert_all_finite(fits)


def test_negative_followers_are_flagged_on_the_log_scale():
    fits = fit_map(Ragged.from_lists([[0.0, 1.0]] * 2, [[-1.0, 1.0], [5.0, -0.5]]), 600.0, rescaled())
    assert statuses(fits) == ["not_finite"] * 2
    assert_all_finite(fits)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("followers", [0.0, 1e12, 1e200, 1e307])
@pytest.mark.parametrize("n", [2, 10, 10_000])
def test_any_follower_count_and_length_gives_finite_numbers(model, followers, n):
    rng = np.random.default_rng(n)
    times_s = np.append(0.0, np.sort(rng.exponential(100.0, n - 1) % 600.0))
    fits = fit_map(Ragged.from_lists([times_s], [np.full(n, followers)]), 600.0, model)
    assert_all_finite(fits)
    if followers < 1e200:
        assert statuses(fits)[0] in {"ok", "at_bound"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n", [2, 50, 10_000])
def test_events_all_at_one_instant_are_stopped_by_the_bound_of_beta(model, n):
    cascades = Ragged.from_lists([np.zeros(n), np.full(n, 599.0)], [np.zeros(n)] * 2)
    fits = fit_map(cascades, 600.0, model)
    assert_all_finite(fits)
    assert set(statuses(fits)) <= {"ok", "at_bound"}
    if n == 10_000:
        np.testing.assert_allclose(fits.beta, model.beta_bounds[1])


@pytest.mark.parametrize("times_s", [[0.0, 5.0, 4.0], [-1.0, 0.0], [0.0, 600.5]])
def test_times_that_fall_or_leave_the_window_are_a_programmers_error(times_s):
    good = [0.0, 1.0]
    with pytest.raises(ValueError, match="cascade 1 must rise"):
        fit_map(Ragged.from_lists([good, times_s], [good, [1.0] * len(times_s)]), 600.0, rescaled())


def test_no_cascades_give_no_fits():
    assert len(fit_map(Ragged.from_lists([], []), 600.0, rescaled())) == 0
