import numpy as np
import pytest

from jobs.runtime.pacing import STEP_S, Pace

TIMES_S = np.arange(100_000) / 10.0


def test_acceleration_decides_what_is_due():
    pace = Pace(TIMES_S, acceleration=100, max_events_per_s=0)
    assert pace.due(0, 1.0) == 1001


def test_no_acceleration_makes_everything_due_at_once():
    assert Pace(TIMES_S, acceleration=0, max_events_per_s=0).due(0, 0.0) == len(TIMES_S)


def test_wait_ends_when_the_next_event_is_due_but_after_one_step_at_most():
    pace = Pace(np.array([0.0, 2.0, 900.0]), acceleration=100, max_events_per_s=0)
    assert pace.wait_s(1, 0.005) == pytest.approx(0.015)
    assert pace.wait_s(2, 0.02) == STEP_S


@pytest.mark.parametrize("acceleration", [0, 1e6])
def test_rate_limit_holds_over_every_second(acceleration):
    pace, sent, counts = Pace(TIMES_S, acceleration, max_events_per_s=1000), 0, []
    for elapsed_s in np.arange(0, 5, 0.05):
        due = pace.due(sent, float(elapsed_s))
        pace.spend(due - sent)
        sent = due
        counts.append(sent)
    per_second = np.diff(counts[::20])
    assert per_second.max() <= 1050
    assert per_second.min() >= 950


def test_idle_time_saves_up_no_burst():
    pace = Pace(TIMES_S, acceleration=0, max_events_per_s=1000)
    assert pace.due(0, 3600.0) == 50


def test_a_rate_below_one_event_a_step_still_sends():
    pace = Pace(TIMES_S, acceleration=0, max_events_per_s=2)
    assert pace.due(0, 0.0) == 1
    pace.spend(1)
    assert [pace.due(1, 0.25), pace.due(1, 0.5)] == [1, 2]
