"""How good the predictions were that were really made."""

from __future__ import annotations

import numpy as np

from udfs.forest.quantiles import weighted_quantile
from udfs.forest.samples import Samples
from udfs.hawkes.size import absolute_relative_error


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
        errors = absolute_relative_error(n_tot, samples.popularity)
        figures[f"mean_are_{method}"] = float(errors.mean())
        figures[f"median_are_{method}"] = float(np.median(errors))
    return {name: value for name, value in figures.items() if np.isfinite(value)}
