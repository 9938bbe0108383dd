from dataclasses import replace

import numpy as np
import pytest

from tests.unit.forest.builders import some_samples
from udfs.forest import archive
from udfs.forest.errors import ModelError
from udfs.forest.features import FEATURES
from udfs.forest.ratios import Ratios
from udfs.forest.scoring import quantiles
from udfs.forest.train import TreeOptions, train
from udfs.forest.trees import LAYOUT
from udfs.forest.window_model import WindowModel, predict

OPTIONS = TreeOptions(n_trees=20)


def model_of(count, seed=1):
    return train(some_samples(count, seed), 600, OPTIONS, seed)


@pytest.mark.parametrize(("window_s", "ratio"), [(600, 3.0), (1200, 2.3)])
def test_the_cold_model_answers_the_first_guess(window_s, ratio):
    X, n_obs = np.zeros((2, len(FEATURES))), np.array([10, 200])
    answers = predict(WindowModel.cold(window_s), X, n_obs)
    np.testing.assert_allclose(answers.n_tot, ratio * n_obs, rtol=1e-3)
    np.testing.assert_allclose(answers.n_tot_median, ratio * n_obs, rtol=1e-3)
    assert (answers.lo < answers.n_tot).all()
    assert (answers.n_tot < answers.hi).all()
    assert np.isnan(answers.mid).all()
    assert np.isnan(answers.half).all()
    assert not answers.calibrated


@pytest.mark.parametrize("window_s", [1, 60, 601, 86_400, 10**9])
def test_every_window_has_a_first_guess_above_1(window_s):
    assert WindowModel.cold(window_s).ratio > 1.0


def test_a_few_samples_move_the_ratio_and_the_first_guess_fades():
    """All ratios 10, guess 3 four times, weight 1/r: 4/3 of weight against s/10 passes half at s = 14."""
    ratios = [Ratios.of(np.full(s, np.log(10.0)), 600).are_optimal for s in (0, 1, 13, 14, 31)]
    np.testing.assert_allclose(ratios, [3.0, 3.0, 3.0, 10.0, 10.0])


def test_trees_take_part_from_32_samples_on():
    assert model_of(31).trees is None
    assert model_of(32).trees is not None
    assert model_of(32).trees_weight == 0.5


def test_the_answer_is_the_geometric_blend_of_trees_and_ratio():
    model, asked = model_of(96), some_samples(20, 3)
    pool = quantiles(model.trees, asked.X)
    expected = asked.n_obs * np.exp(pool.are_optimal) ** 0.75 * model.ratio**0.25
    np.testing.assert_allclose(predict(model, asked.X, asked.n_obs).n_tot, expected, rtol=1e-12)


def test_calibration_stretches_the_interval():
    model, asked = replace(model_of(200), calibration=1.5), some_samples(100, 4)
    answers = predict(model, asked.X, asked.n_obs)
    assert answers.calibrated
    np.testing.assert_allclose(answers.hi, asked.n_obs * np.exp(answers.mid + 1.5 * answers.half), rtol=1e-12)
    lowest = np.maximum(answers.mid - 1.5 * answers.half, 0.0)
    np.testing.assert_allclose(answers.lo, asked.n_obs * np.exp(lowest), rtol=1e-12)
    np.testing.assert_array_less(0.05 - 1e-12, answers.half)


@pytest.mark.parametrize("count", [0, 5, 40, 300])
@pytest.mark.parametrize("calibration", [None, 0.0, 1e6])
def test_answers_are_finite_and_at_least_what_was_seen(count, calibration):
    asked = some_samples(100, 5)
    answers = predict(replace(model_of(count), calibration=calibration), asked.X, asked.n_obs)
    for values in (answers.n_tot, answers.n_tot_median, answers.lo, answers.hi):
        assert np.isfinite(values).all()
        assert (values >= asked.n_obs).all()
    assert (answers.lo <= answers.hi).all()


def test_cascades_that_never_grew_are_predicted_to_stay():
    samples = some_samples(64, 6)
    done = replace(samples, popularity=samples.n_obs * 0.9)
    answers = predict(train(done, 600, OPTIONS, 1), samples.X, samples.n_obs)
    assert (answers.n_tot >= samples.n_obs).all()
    assert (answers.n_tot < 1.5 * samples.n_obs).all()


def test_no_rows_give_no_answers():
    for model in (WindowModel.cold(600), model_of(40)):
        assert predict(model, np.empty((0, 22)), np.empty(0)).n_tot.shape == (0,)


def test_counts_of_another_length_are_refused():
    with pytest.raises(ValueError, match="n_obs"):
        predict(WindowModel.cold(600), np.zeros((3, 22)), np.ones(2))


@pytest.mark.parametrize("count", [0, 10, 100])
@pytest.mark.parametrize("calibration", [None, 1.25])
def test_bytes_read_back_answer_the_same(count, calibration):
    model, asked = replace(model_of(count), calibration=calibration), some_samples(50, 7)
    read = WindowModel.from_bytes(model.to_bytes())
    assert (read.window_s, read.n_samples, read.ratios) == (model.window_s, model.n_samples, model.ratios)
    one, other = (predict(each, asked.X, asked.n_obs) for each in (model, read))
    np.testing.assert_array_equal(one.n_tot, other.n_tot)
    np.testing.assert_array_equal(one.hi, other.hi)
    assert one.calibrated == other.calibrated


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, 2),
        (1, 0),
        (1, 600.5),
        (2, -1),
        (2, 99),
        (3, 0.5),
        (3, np.nan),
        (5, 1e9),
        (6, np.inf),
        (7, np.inf),
        (7, -1),
    ],
)
def test_impossible_numbers_are_refused(position, value):
    arrays = archive.unpack(model_of(40).to_bytes(), [{"numbers": "<f8", **LAYOUT}])
    numbers = arrays["numbers"].copy()
    numbers[position] = value
    with pytest.raises(ModelError):
        WindowModel.from_bytes(archive.pack({**arrays, "numbers": numbers}))
