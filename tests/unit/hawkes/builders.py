"""Cascades for the tests of the Hawkes process, and the slow optimiser they hold it against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from udfs.hawkes.compiled import compiled
from udfs.hawkes.likelihood import posterior_at
from udfs.hawkes.model import HawkesModel
from udfs.ragged import Floats, Ragged

REAL_EVENTS = Path(__file__).resolve().parents[3] / "../shared/data/tideh_seismic100.events.csv.gz"


def real_cascades() -> Ragged:
    """The 100 real cascades, or skip where the file is not there."""
    if not REAL_EVENTS.exists():
        pytest.skip(f"needs the real cascades {REAL_EVENTS.name}")
    events = pd.read_csv(REAL_EVENTS).sort_values(["cascade", "t_s"], kind="stable")
    lengths = events.groupby("cascade").size().to_numpy()
    times_s, followers = (events[name].to_numpy(np.float64) for name in ("t_s", "followers"))
    return Ragged(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), times_s, followers)


def select(cascades: Ragged, rows: Sequence[int] | np.ndarray) -> Ragged:
    """These cascades, in this order."""
    return Ragged.from_lists(*zip(*(_events(cascades, int(row)) for row in rows), strict=True))


def two_optima_cascade() -> Ragged:
    """A root with 300,000 followers and 80 retweets at a rate that decays in 120 s, seen for 600 s.

    Under the reference either the root alone drives it (small p, fast) or everyone does (n* of .65, slow).
    """
    rank = np.arange(80)
    times_s = np.append(0.0, -120.0 * np.log(1.0 - (rank + 0.5) / 80.5))
    seen = times_s[times_s < 600.0]
    return Ragged.from_lists([seen.tolist()], [[3e5] + [100.0] * (len(seen) - 1)])


@compiled
def _loss(x, times_s, marks, window_s, prior):
    return -posterior_at(x[0], x[1], times_s, marks, window_s, prior)[0]


def powell(cascades: Ragged, row: int, window_s: float, model: HawkesModel) -> Floats:
    """Log posterior, log p and log beta where scipy's Powell ends, from the prior's mode in the same box."""
    times_s, followers = _events(cascades, row)
    box = model.log_box
    found = minimize(
        _loss,
        np.array(model.prior_mean),
        args=(times_s, model.transformed(followers), window_s, model.log_prior),
        method="Powell",
        bounds=[box[:2], box[2:]],
        options={"xtol": 1e-6, "ftol": 1e-10},
    )
    return np.array([-found.fun, *found.x])


def _events(cascades: Ragged, row: int) -> tuple[Floats, Floats]:
    events = slice(cascades.offsets[row], cascades.offsets[row + 1])
    return cascades.times_s[events], cascades.marks[events]
