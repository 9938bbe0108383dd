"""Cascades from the simulator, named and with a text."""

from __future__ import annotations

import numpy as np

from jobs.runtime.knobs import Generator
from jobs.runtime.sources.cascades import Cascades
from udfs.hawkes.simulate import simulate

#: Smallest cascade simulated: the laws of the simulator were fitted to cascades of 50 events and more.
MIN_SIZE = 50


def simulated(knobs: Generator) -> Cascades:
    """Simulate ``knobs.cascades`` cascades; the same seed gives the same ones."""
    events = simulate(knobs.cascades, np.random.default_rng(knobs.seed), knobs.horizon_s, MIN_SIZE)
    numbers = range(knobs.cascades)
    ids = [f"sim-{knobs.seed}-{number}" for number in numbers]
    return Cascades(ids, [f"simulated post {number}" for number in numbers], events)
