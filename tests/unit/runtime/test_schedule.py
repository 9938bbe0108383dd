import numpy as np
import pytest

from jobs.runtime.knobs import Generator
from jobs.runtime.schedule import plan
from jobs.runtime.sources.simulated import simulated
from tests.unit.runtime.builders import cascades_of


def knobs(**changes):
    return Generator(**({"sources": 2, "concurrent": 3, "start_range_s": 600, "seed": 5} | changes))


def starts(schedule):
    roots = schedule.position == 0
    order = np.argsort(schedule.cascade[roots])
    return schedule.event_time_s[roots][order], schedule.source[roots][order]


@pytest.fixture(scope="module")
def many():
    return simulated(Generator(cascades=60, seed=2))


def test_every_event_is_there_once_in_time_order(many):
    schedule = plan(many, knobs())
    assert len(schedule) == many.events.offsets[-1]
    assert (np.diff(schedule.event_time_s) >= 0).all()
    flat = many.events.offsets[schedule.cascade] + schedule.position
    np.testing.assert_array_equal(np.sort(flat), np.arange(len(schedule)))
    start_s, _ = starts(schedule)
    np.testing.assert_array_equal(
        schedule.event_time_s, start_s[schedule.cascade] + many.events.times_s[flat]
    )


def test_events_of_a_cascade_keep_their_order(many):
    schedule = plan(many, knobs())
    for cascade in range(len(many)):
        positions = schedule.position[schedule.cascade == cascade]
        np.testing.assert_array_equal(positions, np.arange(len(positions)))


def test_a_source_never_emits_more_cascades_at_a_time_than_it_may(many):
    schedule = plan(many, knobs(start_range_s=0))
    start_s, source = starts(schedule)
    end_s = start_s + many.events.times_s[many.events.offsets[1:] - 1]
    for one in (0, 1):
        begin, finish = start_s[source == one], end_s[source == one]
        open_at_start = [(begin <= now).sum() - (finish <= now).sum() for now in begin]
        assert max(open_at_start) == 3


def test_a_cascade_starts_within_the_range_of_its_turn():
    cascades = cascades_of(*[[0, 1000]] * 200)
    start_s, _ = starts(plan(cascades, knobs(sources=1, concurrent=1)))
    wait_s = np.diff(start_s) - 1000
    assert 0 <= start_s[0] <= 600
    assert wait_s.min() >= 0
    assert wait_s.max() <= 600 + 1 / 1024
    assert wait_s.mean() == pytest.approx(300, abs=4 * 600 / np.sqrt(12 * 199))


def test_first_turns_are_at_the_start_of_time():
    start_s, source = starts(plan(cascades_of(*[[0, 9]] * 6), knobs(start_range_s=0)))
    assert start_s.tolist() == [0.0] * 6
    assert np.bincount(source).tolist() == [3, 3]


def test_whole_seconds_after_the_root_stay_exact():
    cascades = cascades_of(*[[0, 600, 1200, 1800]] * 500)
    schedule = plan(cascades, knobs())
    start_s, _ = starts(schedule)
    since_root_s = schedule.event_time_s - start_s[schedule.cascade]
    assert set(since_root_s.tolist()) == {0.0, 600.0, 1200.0, 1800.0}


def test_same_seed_gives_the_same_schedule(many):
    one, two, other = (plan(many, knobs(seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.event_time_s, two.event_time_s)
    assert not np.array_equal(one.event_time_s, other.event_time_s)
