import numpy as np

from jobs.runtime.knobs import Generator
from jobs.runtime.sources.simulated import simulated


def test_simulated_cascades_are_named_by_seed_and_number():
    cascades = simulated(Generator(cascades=3, seed=7))
    assert cascades.ids == ["sim-7-0", "sim-7-1", "sim-7-2"]
    assert all(cascades.texts)
    assert cascades.events.lengths.min() >= 50
    assert (cascades.events.times_s[cascades.events.offsets[:-1]] == 0).all()


def test_same_seed_gives_the_same_cascades():
    one, two, other = (simulated(Generator(cascades=5, seed=seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.events.times_s, two.events.times_s)
    assert not np.array_equal(one.events.times_s[:50], other.events.times_s[:50])
