"""The model of one observation window, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log

import numpy as np

from udfs.forest import archive
from udfs.forest.errors import ModelError
from udfs.forest.ratios import Ratios
from udfs.forest.samples import MAX_LOG_RATIO
from udfs.forest.scoring import quantiles
from udfs.forest.trees import LAYOUT, Trees
from udfs.ragged import Floats, Ints

#: Version of the stored bytes and of the features' meaning; a reader refuses any other.
FORMAT = 1
#: The trees and the constant ratio weigh the same at this many samples.
BLEND_SAMPLES = 32
#: Least half-width of an interval of log(N / n) before calibration, so that no score is divided by 0.
MIN_HALF_WIDTH = 0.05
#: What the stored array "numbers" holds, in order.
_NUMBERS = ("format", "window_s", "n_samples", "are_optimal", "median", "low", "high", "calibration")
_COLD_LAYOUT: archive.Layout = {"numbers": "<f8"}


@dataclass(frozen=True)
class WindowModel:
    """What s labelled samples of a window taught; ready to score."""

    window_s: int
    n_samples: int
    """How many samples it was trained on."""
    ratios: Ratios
    trees: Trees | None
    """None below ``BLEND_SAMPLES`` samples."""
    calibration: float | None
    """c, by which the trees' interval is stretched to cover 80 %; None while too few answers are known."""

    @classmethod
    def cold(cls, window_s: int) -> WindowModel:
        """Return the model before any sample.

        >>> WindowModel.cold(600).ratio
        3.0
        """
        return cls(window_s, 0, Ratios.of(np.empty(0), window_s), None, None)

    @property
    def ratio(self) -> float:
        """k_s, the answer N / n without trees."""
        return self.ratios.are_optimal

    @property
    def calibrated(self) -> bool:
        """Whether the interval is known to cover about 80 %."""
        return self.trees is not None and self.calibration is not None

    @property
    def trees_weight(self) -> float:
        """The share of the trees in the answer, from 0 (no trees) to 1."""
        return 0.0 if self.trees is None else self.n_samples / (self.n_samples + BLEND_SAMPLES)

    def to_bytes(self) -> bytes:
        """Return an npz file of numbers; no pickle."""
        ratios = self.ratios
        calibration = np.nan if self.calibration is None else self.calibration
        numbers: list[float] = [FORMAT, self.window_s, self.n_samples]
        numbers += [ratios.are_optimal, ratios.median, ratios.low, ratios.high, calibration]
        arrays = {} if self.trees is None else self.trees.arrays()
        return archive.pack({"numbers": np.array(numbers, dtype=np.float64), **arrays})

    @classmethod
    def from_bytes(cls, data: bytes) -> WindowModel:
        """Read what ``to_bytes`` wrote. Raises ModelError for anything that is no sound model."""
        arrays = archive.unpack(data, [_COLD_LAYOUT, {**_COLD_LAYOUT, **LAYOUT}])
        if len(arrays["numbers"]) != len(_NUMBERS):
            raise ModelError(f"the model holds {len(arrays['numbers'])} numbers, not {len(_NUMBERS)}")
        numbers = dict(zip(_NUMBERS, map(float, arrays["numbers"]), strict=True))
        if numbers["format"] != FORMAT:
            raise ModelError(f"the model has the format {numbers['format']:g}, this program reads {FORMAT}")
        window_s, n_samples = numbers["window_s"], numbers["n_samples"]
        if not (window_s >= 1 and n_samples >= 0 and window_s.is_integer() and n_samples.is_integer()):
            raise ModelError(
                f"the model's window ({window_s}) or count of samples ({n_samples}) is not possible"
            )
        calibration = None if np.isnan(numbers["calibration"]) else numbers["calibration"]
        if calibration is not None and not (isfinite(calibration) and calibration >= 0):
            raise ModelError(f"the model's calibration is {calibration}")
        ratios = Ratios(*(numbers[name] for name in ("are_optimal", "median", "low", "high")))
        ratios.check()
        trees = Trees.from_arrays(arrays) if "rows" in arrays else None
        if trees is not None and len(trees.y) != n_samples:
            raise ModelError(f"the model has {n_samples:g} samples, its trees {len(trees.y)}")
        return cls(int(window_s), int(n_samples), ratios, trees, calibration)


@dataclass(frozen=True)
class Predictions:
    """Answers for k cascades: shape (k,), finite and at least n_obs, but for ``mid`` and ``half``."""

    n_tot: Floats
    """Final size with the least expected absolute relative error. It under-predicts more often than not."""
    n_tot_median: Floats
    """Final size that is passed as often as not: the one to compare with a threshold."""
    lo: Floats
    """Lower end of the 80 % interval."""
    hi: Floats
    """Upper end."""
    mid: Floats
    """Centre of the trees' interval of log(N / n), to be kept with the sample; NaN without trees."""
    half: Floats
    """Half-width of it before calibration, likewise."""
    calibrated: bool
    """Whether the interval was stretched by what earlier predictions missed."""


def predict(model: WindowModel, X: Floats, n_obs: Ints | Floats) -> Predictions:
    """Predict the final size of k cascades from X, shape (k, 22), and n_obs, shape (k,).

    Without trees: the constant ratio and its samples' quantiles. With them: the geometric blend of the trees'
    answer and the ratio's, and the interval n exp(mid ± c half) of the trees alone, which need not hold the
    blend. Raises ValueError for other shapes.
    """
    n = np.asarray(n_obs, dtype=np.float64)
    if n.shape != (len(X),):
        raise ValueError(f"n_obs needs the shape ({len(X)},), one value per row of X")
    ratios = model.ratios
    if model.trees is None:
        unknown = np.full(len(n), np.nan)
        constant = (ratios.are_optimal, ratios.median, ratios.low, ratios.high)
        best, median, lo, hi = (n * ratio for ratio in constant)
        return Predictions(best, median, lo, hi, mid=unknown, half=unknown, calibrated=False)
    pool = quantiles(model.trees, X)
    weight = model.trees_weight
    mid = (pool.low + pool.high) / 2
    half = np.maximum((pool.high - pool.low) / 2, MIN_HALF_WIDTH)
    stretched = half * (1.0 if model.calibration is None else model.calibration)
    logs = (
        weight * pool.are_optimal + (1 - weight) * log(ratios.are_optimal),
        weight * pool.median + (1 - weight) * log(ratios.median),
        mid - stretched,
        mid + stretched,
    )
    best, median, lo, hi = (n * np.exp(np.clip(value, 0.0, MAX_LOG_RATIO)) for value in logs)
    return Predictions(best, median, lo, hi, mid=mid, half=half, calibrated=model.calibrated)
