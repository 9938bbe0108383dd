"""How good the predictions were that were really made."""

from __future__ import annotations

import numpy as np

from udfs.forest.quantiles import weighted_quantile
from udfs.forest.samples import Samples
from udfs.ragged import Floats


def absolute_relative_errors(n_tot: Floats, popularity: Floats) -> Floats:
    """Return ARE = |N_hat - N| / N, shape (s,).

    >>> absolute_relative_errors(np.array([50.0, 300.0]), np.array([100.0, 200.0])).tolist()
    [0.5, 0.5]
    """
    return np.abs(n_tot - popularity) / popularity


def score(samples: Samples, training: Samples | None = None) -> dict[str, float]:
    """Return mean and median ARE of the model, of Hawkes alone and of k n, and the number of samples.

    The constant k is the best one for the samples in ``training``; without them, for the judged samples
    themselves, in hindsight, which flatters k n a little. A figure that is not finite (no samples, a Hawkes
    answer that overflowed) is left out, so that the dictionary is always valid JSON.
    """
    figures = {"n_scored": float(len(samples))}
    if not len(samples):
        return figures
    learned = samples if training is None or not len(training) else training
    ratio = np.exp(learned.log_ratio)
    constant = weighted_quantile(ratio, 1.0 / ratio, 0.5)
    answers = {
        "model": samples.n_tot_predicted,
        "hawkes": samples.n_tot_hawkes,
        "ratio": constant * samples.n_obs,
    }
    for method, n_tot in answers.items():
        errors = absolute_relative_errors(n_tot, samples.popularity)
        figures[f"mean_are_{method}"] = float(errors.mean())
        figures[f"median_are_{method}"] = float(np.median(errors))
    return {name: value for name, value in figures.items() if np.isfinite(value)}
