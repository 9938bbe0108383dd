import math

import numpy as np
import pytest

from jobs.runtime.scores import ErrorSeries, Scores
from tests.unit.runtime.builders import stat


def test_count_and_mean_are_exact_and_early_and_late_are_thirds():
    series = ErrorSeries()
    for error in (9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0):
        series.add(error)
    summary = series.summary()
    assert (summary.count, summary.mean, summary.median) == (9, 5.0, 5.0)
    assert (summary.early_mean, summary.early_median) == (4.0, 2.0)
    assert (summary.late_mean, summary.late_median) == (7.0, 7.0)


def test_kept_errors_are_bounded_and_spread_over_the_whole_run():
    series = ErrorSeries(bound=100)
    for error in range(12_345):
        series.add(float(error))
    assert 50 <= len(series.kept) <= 100
    assert np.unique(np.diff(series.kept)).size == 1
    assert series.kept[0] == 0
    assert series.kept[-1] > 12_000
    assert series.summary().count == 12_345
    assert series.summary().mean == 6172.0


def test_nothing_to_sum_up_is_nan():
    summary = Scores([600]).summary(600, "model")
    assert summary.count == 0
    assert math.isnan(summary.mean)
    assert math.isnan(summary.late_median)


def test_a_method_without_an_answer_is_left_out():
    scores = Scores([600, 1200])
    assert scores.add(stat(0.5, hawkes_error=2.0))
    assert scores.add(stat(0.25, window_s=1200))
    assert scores.summary(600, "model").mean == 0.5
    assert scores.summary(600, "hawkes").mean == 2.0
    assert scores.summary(600, "kn").count == 0
    assert scores.summary(1200, "model").mean == 0.25


@pytest.mark.parametrize("window_s", [601, 600.5])
def test_a_window_that_is_not_configured_makes_no_series(window_s):
    scores = Scores([600])
    assert not scores.add(stat(0.5, window_s=window_s))
    assert scores.summary(600, "model").count == 0
    with pytest.raises(KeyError):
        scores.summary(601, "model")
