"""Cascades whose answer has become known, with the prediction that was made before."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from udfs.forest.features import FEATURES
from udfs.ragged import Floats

#: Largest log(N / n) that is believed: e^25 retweets per seen event are more than there are people. Keeps exp
#: finite.
MAX_LOG_RATIO = 25.0


@dataclass(frozen=True)
class Samples:
    """s labelled samples of one observation window, oldest first.

    Raises ValueError for shapes that differ, values of X that are not finite, and counts below 1.
    """

    X: Floats
    """Shape (s, 22), columns ``FEATURES``."""
    n_obs: Floats
    """Events the window saw, the root counted. This and all below: shape (s,)."""
    popularity: Floats
    """Final size N."""
    n_tot_predicted: Floats
    """What the model answered when the window closed."""
    n_tot_hawkes: Floats
    """What the Hawkes process alone answered."""
    mid: Floats
    """Centre of that answer's interval, of log(N / n); NaN where no trees took part."""
    half: Floats
    """Half-width of that interval before calibration, likewise."""

    def __post_init__(self) -> None:
        s = len(self.X)
        if self.X.shape != (s, len(FEATURES)):
            raise ValueError(f"X has the shape {self.X.shape}, not (samples, {len(FEATURES)})")
        for field in fields(self)[1:]:
            if getattr(self, field.name).shape != (s,):
                raise ValueError(f"{field.name} needs the shape ({s},), one value per row of X")
        if not np.isfinite(self.X).all():
            raise ValueError("X must be finite")
        for name, counts in (("n_obs", self.n_obs), ("popularity", self.popularity)):
            if not (np.isfinite(counts).all() and (counts >= 1).all()):
                raise ValueError(f"{name} must be at least 1: the root counts")

    def __len__(self) -> int:
        return len(self.X)

    @property
    def log_ratio(self) -> Floats:
        """The target y = log(N / n), shape (s,), in [0, ``MAX_LOG_RATIO``]."""
        return np.clip(np.log(self.popularity / self.n_obs), 0.0, MAX_LOG_RATIO)

    def newest(self, count: int) -> Samples:
        """Keep the last ``count`` samples (all if there are fewer)."""
        return self.between(max(len(self) - count, 0), len(self))

    def between(self, first: int, end: int) -> Samples:
        """Keep the samples ``first:end`` in time order."""
        return Samples(*(getattr(self, field.name)[first:end] for field in fields(self)))
