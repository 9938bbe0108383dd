from math import inf, nan

import numpy as np
import pytest

from tests.unit.forest.builders import constant, some_cascades
from udfs.forest.features import FEATURES, features
from udfs.ragged import Ragged


def described(t, m, window_s, beta, n_star, g1):
    """The definition, in plain numpy, of one cascade."""
    t, m = np.array(t), np.array(m)
    n, T = len(t), window_s
    logs, followers = np.log1p(t[1:]), m[1:]
    j = max(n - 6, 0)
    return [
        np.log(n),
        *[(np.sum(t < a * T) + 0.5) / (n + 1) for a in (1 / 8, 1 / 4, 1 / 2, 3 / 4, 7 / 8)],
        (T - t[-1]) / T,
        t[n // 2] / T,
        logs.mean() if n > 1 else 0.0,
        logs.std() if n > 1 else 0.0,
        np.log((T - t[j]) / ((n - j) * T) + 1e-4),
        np.log1p(m[0]),
        np.log1p(followers.sum()),
        np.log1p(followers.max()) if n > 1 else 0.0,
        np.log1p(followers).mean() if n > 1 else 0.0,
        np.log1p(followers[t[1:] >= 0.75 * T].sum()),
        np.log1p(np.sum(t < 60)),
        np.log1p(np.sum(t < 180)),
        np.log(beta),
        n_star,
        np.log(g1 + 1e-6),
        np.log(1 + g1 / ((1 - n_star) * n)),
    ]


def test_there_are_22_features_with_names_of_their_own():
    assert len(FEATURES) == len(set(FEATURES)) == 22
    assert all(name.isidentifier() and name == name.lower() for name in FEATURES)


def test_features_equal_their_definition():
    rng = np.random.default_rng(2)
    k = 200
    windows = rng.choice([600.0, 1200.0], k)
    cascades = some_cascades(k, seed=3, window_s=600.0)
    beta, n_star, g1 = rng.uniform(1e-5, 0.05, k), rng.uniform(0.0, 0.98, k), rng.exponential(20.0, k)
    expected = [
        described(cascades.times_s[a:b], cascades.marks[a:b], windows[i], beta[i], n_star[i], g1[i])
        for i, (a, b) in enumerate(zip(cascades.offsets[:-1], cascades.offsets[1:], strict=True))
    ]
    np.testing.assert_allclose(
        features(cascades, windows, beta, n_star, g1), expected, rtol=1e-12, atol=1e-12
    )


def test_features_of_a_root_alone_are_finite():
    one = Ragged.from_lists([[0.0]], [[0.0]])
    assert np.isfinite(features(one, *(np.array([v]) for v in (600.0, 0.001, 0.5, 0.0)))).all()


@pytest.mark.parametrize("mark", [0.0, 1e308])
@pytest.mark.parametrize("beta", [0.0, -1.0, inf, nan, 1e-300])
@pytest.mark.parametrize("n_star", [1.0, 7.0, -1.0, nan])
@pytest.mark.parametrize("g1", [0.0, 1e308, -inf, nan])
def test_features_are_finite_whatever_the_fit_and_the_followers_say(mark, beta, n_star, g1):
    cascade = Ragged.from_lists([[0.0, 0.0, 599.9999999]], [[mark] * 3])
    row = features(cascade, *(np.array([v]) for v in (600.0, beta, n_star, g1)))
    assert np.isfinite(row).all()
    assert np.isfinite(row.astype(np.float32)).all()


def test_events_at_or_after_the_end_of_the_window_count_for_nothing():
    seen = Ragged.from_lists([[0.0, 5.0, 599.0]], [[1.0, 2.0, 3.0]])
    longer = Ragged.from_lists([[0.0, 5.0, 599.0, 600.0, 900.0]], [[1.0, 2.0, 3.0, 4.0, 5.0]])
    fit = [np.array([v]) for v in (600.0, 0.001, 0.5, 2.0)]
    np.testing.assert_array_equal(features(seen, *fit), features(longer, *fit))


def test_no_cascades_give_no_rows():
    none = Ragged.from_lists([], [])
    assert features(none, *[np.empty(0)] * 4).shape == (0, 22)


@pytest.mark.parametrize(
    ("times_s", "window_s", "fits"),
    [([[]], 600.0, 1), ([[0.0]], 0.0, 1), ([[0.0]], nan, 1), ([[0.0]], 600.0, 2)],
)
def test_what_is_no_cascade_in_a_window_is_refused(times_s, window_s, fits):
    cascades = Ragged.from_lists(times_s, times_s)
    with pytest.raises(ValueError, match=r"window|shape"):
        features(cascades, np.array([window_s]), *[constant(0.5, fits)] * 3)
