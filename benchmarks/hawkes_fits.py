"""Fits per second of the batched Hawkes MAP beside scipy's Powell on the same likelihood, in the same run.

``make bench`` prints a table and writes ``benchmarks/results/hawkes_fits.json``. Powell gets the compiled
objective too, so the ratio is that of the search, not of Python's arithmetic; one core each.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from udfs.hawkes.fit import fit_map
from udfs.hawkes.likelihood import posterior_at
from udfs.hawkes.model import rescaled
from udfs.hawkes.simulate import simulate
from udfs.ragged import Ragged

RUNS = 7
WINDOW_S = 600.0
EVENTS = 32
#: Powell fits of one run: about a second.
POWELL_FITS = 40
BATCH = 20_000
RESULTS = Path(__file__).parent / "results" / "hawkes_fits.json"


def cascades_of_32_events() -> Ragged:
    """Cut simulated cascades to their first 32 events in the window, repeated up to the batch's size."""
    seen = simulate(600, np.random.default_rng(7)).observed_until(WINDOW_S)
    rows = np.flatnonzero(seen.lengths >= EVENTS)
    rows = np.resize(rows, BATCH)
    places = (seen.offsets[rows][:, None] + np.arange(EVENTS)).ravel()
    offsets = np.arange(BATCH + 1) * EVENTS
    return Ragged(offsets.astype(np.int64), seen.times_s[places], seen.marks[places])


def batched(cascades: Ragged) -> float:
    """Return fits per second of one call."""
    start = time.perf_counter()
    fit_map(cascades, WINDOW_S, rescaled())
    return len(cascades) / (time.perf_counter() - start)


def powell(cascades: Ragged) -> float:
    """Return fits per second of scipy's Powell within the same bounds, from the prior's mode."""
    model = rescaled()
    low_p, high_p, low_b, high_b = model.log_box
    start = time.perf_counter()
    for i in range(POWELL_FITS):
        part = slice(cascades.offsets[i], cascades.offsets[i + 1])
        times_s, marks = cascades.times_s[part], model.transformed(cascades.marks[part])

        def loss(theta: np.ndarray, times_s: np.ndarray = times_s, marks: np.ndarray = marks) -> float:
            return -posterior_at(theta[0], theta[1], times_s, marks, WINDOW_S, model.log_prior)[0]

        minimize(loss, model.prior_mean, method="Powell", bounds=[(low_p, high_p), (low_b, high_b)])
    return POWELL_FITS / (time.perf_counter() - start)


def main() -> int:
    """Alternate both, print medians and the ratio, write the figures."""
    cascades = cascades_of_32_events()
    batched(cascades), powell(cascades)
    pairs = [(batched(cascades), powell(cascades)) for _ in range(RUNS)]
    ratios = [ours / peer for ours, peer in pairs]
    ours, peer = zip(*pairs, strict=True)
    figures = {
        "runs": RUNS,
        "events_per_cascade": EVENTS,
        "fits_per_s": statistics.median(ours),
        "powell_fits_per_s": statistics.median(peer),
        "ratio_to_powell": statistics.median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    print(f"batched fit   {figures['fits_per_s']:12,.0f} fits/s (median of {RUNS}, one core)")
    print(f"scipy Powell  {figures['powell_fits_per_s']:12,.0f} fits/s")
    print(f"ratio         {figures['ratio_to_powell']:12,.0f}  ({min(ratios):,.0f} to {max(ratios):,.0f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
