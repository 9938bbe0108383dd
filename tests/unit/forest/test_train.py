from dataclasses import replace

import numpy as np
import pytest

from tests.unit.forest.builders import as_predicted_by, some_samples
from udfs.forest.evaluate import score
from udfs.forest.samples import Samples
from udfs.forest.train import MAX_SAMPLES, TreeOptions, calibration, train, tune
from udfs.forest.window_model import WindowModel, predict
from udfs.hawkes.size import absolute_relative_error

OPTIONS = TreeOptions(n_trees=30)


def test_the_same_seed_gives_the_same_model_and_another_does_not():
    samples = some_samples(150, 1)
    one, same, other = (train(samples, 600, OPTIONS, seed).to_bytes() for seed in (5, 5, 6))
    assert one == same
    assert one != other


def test_the_model_is_better_than_the_constant_ratio():
    model = train(some_samples(800, 2), 600, TreeOptions(), 1)
    figures = score(as_predicted_by(model, some_samples(1000, 3)), training=some_samples(800, 2))
    assert figures["mean_are_model"] < 0.85 * figures["mean_are_ratio"]
    assert figures["median_are_model"] < 0.85 * figures["median_are_ratio"]


@pytest.mark.parametrize("count", [33, 64, 128])
def test_the_first_trees_are_no_worse_than_the_constant_ratio(count):
    ares = []
    for seed in range(5):
        model, asked = train(some_samples(count, 10 + seed), 600, OPTIONS, seed), some_samples(500, 20 + seed)
        blend = predict(model, asked.X, asked.n_obs).n_tot
        ares.append(
            [
                absolute_relative_error(n_tot, asked.popularity).mean()
                for n_tot in (blend, model.ratio * asked.n_obs)
            ]
        )
    blended, ratio = np.mean(ares, axis=0)
    assert blended <= ratio


@pytest.mark.parametrize("noise", [0.1, 0.6])
def test_calibrated_intervals_cover_four_in_five(noise):
    """Calibrated by what the model missed on samples it had not seen, on samples newer still."""
    first = train(some_samples(600, 4, noise), 600, OPTIONS, 1)
    answered = as_predicted_by(first, some_samples(512, 5, noise))
    model = replace(first, calibration=calibration(answered))
    asked = some_samples(4000, 6, noise)
    answers = predict(model, asked.X, asked.n_obs)
    covered = ((answers.lo <= asked.popularity) & (asked.popularity <= answers.hi)).mean()
    assert answers.calibrated
    # 512 scores leave a standard deviation of sqrt(.8 .2 / 512) = .018; three of them.
    assert covered == pytest.approx(0.8, abs=0.055)


def test_calibration_is_the_quantile_of_the_newest_512_known_scores():
    m = 600
    samples = some_samples(m, 7)
    scores = np.random.default_rng(8).permutation(np.arange(1.0, m + 1))
    half = np.full(m, 0.1)
    mid = samples.log_ratio - scores * half
    mid[-50:] = np.nan
    expected = np.sort(scores[38:550])[411 - 1]  # ceil(.8 * 513) = 411
    assert calibration(replace(samples, mid=mid, half=half)) == pytest.approx(expected)


def test_calibration_waits_for_64_scores():
    samples = some_samples(100, 9)
    known = replace(samples, mid=np.ones(100), half=np.ones(100))
    known.mid[:37] = np.nan
    assert calibration(known) is None
    known.mid[36] = 1.0
    assert calibration(known) is not None


def test_only_the_newest_samples_are_learned_from():
    old, new = some_samples(200, 10), some_samples(MAX_SAMPLES, 11)
    both = Samples(*(np.concatenate([getattr(old, name), getattr(new, name)]) for name in vars(old)))
    options = TreeOptions(n_trees=2)
    assert train(both, 600, options, 1).to_bytes() == train(new, 600, options, 1).to_bytes()


def test_without_samples_the_model_is_the_cold_one():
    assert train(some_samples(0, 1), 1200, OPTIONS, 1) == WindowModel.cold(1200)


def test_leaves_are_larger_from_200_samples_on():
    for count, least in ((199, 3), (200, 5)):
        trees = train(some_samples(count, 12), 600, OPTIONS, 1).trees
        held = np.diff(trees.row_offsets)
        assert held[held > 0].min() == least


def test_tuning_prefers_what_predicts_the_future_better():
    """With 22 columns of which one matters, asking for all of them each time finds it."""
    samples = some_samples(400, 13)
    samples = replace(samples, popularity=samples.n_obs * np.exp(np.abs(2.0 + samples.X[:, 3])))
    options = tune(samples, 1)
    assert options.max_features == 1.0
    assert options.n_trees == 100
    assert tune(samples, 1) == options


def test_few_samples_are_not_tuned_on():
    assert tune(some_samples(100, 14), 1) == TreeOptions()


@pytest.mark.parametrize(
    "wrong",
    [{"n_trees": 0}, {"n_trees": 501}, {"max_features": 0.0}, {"max_features": 1.1}, {"min_samples_leaf": 0}],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TreeOptions(**wrong)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("X", lambda X: X[:, :21]),
        ("X", lambda X: np.where(X > 1, np.nan, X)),
        ("n_obs", lambda n: n * 0),
        ("popularity", lambda n: n * np.inf),
        ("mid", lambda mid: mid[:-1]),
    ],
)
def test_samples_that_cannot_be_are_refused(field, change):
    samples = some_samples(10, 15)
    with pytest.raises(ValueError, match=field):
        replace(samples, **{field: change(getattr(samples, field))})


def test_scores_are_of_the_predictions_that_were_made():
    samples = some_samples(4, 16)
    n = np.full(4, 10.0)
    samples = replace(samples, n_obs=n, popularity=np.array([20.0, 20.0, 20.0, 40.0]))
    samples = replace(
        samples, n_tot_predicted=np.array([20.0, 10.0, 30.0, 40.0]), n_tot_hawkes=np.full(4, np.inf)
    )
    assert score(samples) == {
        "n_scored": 4.0,
        "mean_are_model": 0.25,
        "median_are_model": 0.25,
        "mean_are_ratio": 0.125,  # the best constant is 2
        "median_are_ratio": 0.0,
    }


def test_no_samples_have_no_scores():
    assert score(some_samples(0, 1)) == {"n_scored": 0.0}
