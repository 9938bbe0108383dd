import numpy as np
import pytest

from udfs.hawkes.simulate import DAY_S, MAX_SIZE, simulate


@pytest.fixture(scope="module")
def cascades():
    return simulate(20_000, np.random.default_rng(21))


def test_sizes_have_the_quantiles_of_real_news(cascades):
    levels = [0.10, 0.25, 0.50, 0.75, 0.90, 0.95]
    assert np.quantile(cascades.lengths, levels) == pytest.approx([55, 65, 94, 158, 285, 455], rel=0.06)
    assert np.quantile(cascades.lengths, 0.99) == pytest.approx(1_694, rel=0.3)


def test_growth_in_ten_minutes_has_the_quantiles_of_real_news(cascades):
    share = cascades.observed_until(600.0).lengths / cascades.lengths
    # Quoted as "5 ... 95 %" at seven levels: 5, 10, 25, 50, 75, 90, 95.
    levels = [0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95]
    assert np.quantile(share, levels) == pytest.approx([0.11, 0.16, 0.25, 0.35, 0.44, 0.53, 0.57], abs=0.012)


def test_followers_are_whole_and_have_the_laws_asked_for(cascades):
    roots = cascades.marks[cascades.offsets[:-1]]
    others = np.delete(cascades.marks, cascades.offsets[:-1])
    assert np.array_equal(cascades.marks, np.floor(cascades.marks))
    assert cascades.marks.min() >= 0
    assert np.median(others) == pytest.approx(np.exp(5.1), rel=0.02)
    assert np.median(roots) > np.exp(11.0)  # large cascades have larger roots


def test_each_cascade_starts_with_its_root_and_its_times_rise(cascades):
    starts = cascades.offsets[:-1]
    rises = np.diff(cascades.times_s)
    rises[starts[1:] - 1] = 0.0
    assert np.all(cascades.times_s[starts] == 0.0)
    assert np.all(rises >= 0.0)
    assert cascades.times_s.max() < 7 * DAY_S


def test_sizes_lie_between_the_minimum_and_the_largest(cascades):
    assert cascades.lengths.min() == 50
    assert cascades.lengths.max() <= MAX_SIZE
    assert len(cascades) == 20_000


def test_order_says_nothing_of_the_size(cascades):
    first, second = np.split(np.log(cascades.lengths), 2)
    assert first.mean() == pytest.approx(second.mean(), abs=0.04)
    order = np.corrcoef(np.arange(20_000), np.log(cascades.lengths))[0, 1]
    neighbours = np.corrcoef(np.log(cascades.lengths[1:]), np.log(cascades.lengths[:-1]))[0, 1]
    assert max(abs(order), abs(neighbours)) < 0.03


def test_the_same_seed_gives_the_same_cascades():
    one, two = (simulate(30, np.random.default_rng(5)) for _ in range(2))
    other = simulate(30, np.random.default_rng(6))
    assert np.array_equal(one.times_s, two.times_s)
    assert np.array_equal(one.marks, two.marks)
    assert not np.array_equal(one.lengths, other.lengths)


def test_the_horizon_and_the_minimum_are_respected():
    short = simulate(200, np.random.default_rng(7), horizon_s=3_600.0, min_size=2)
    assert short.times_s.max() < 3_600.0
    assert 2 <= short.lengths.min() < 10


def test_none_can_be_asked_for():
    assert len(simulate(0, np.random.default_rng(8))) == 0


@pytest.mark.parametrize(
    "wrong", [{"count": -1}, {"count": 1, "horizon_s": np.inf}, {"count": 1, "min_size": MAX_SIZE}]
)
def test_what_cannot_be_simulated_is_refused(wrong):
    with pytest.raises(ValueError, match=r"needs|rare"):
        simulate(rng=np.random.default_rng(9), **wrong)
