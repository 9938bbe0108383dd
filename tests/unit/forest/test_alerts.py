import json

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.forest.builders import some_samples, some_trees
from udfs.forest.alerts import alert_values
from udfs.forest.features import FEATURES
from udfs.forest.parameters import Parameters
from udfs.forest.ratios import Ratios
from udfs.forest.window_model import WindowModel, predict

TRAINED = WindowModel(1200, 120, Ratios.of(some_samples(120, 1).log_ratio, 1200), some_trees(), 1.3)
COLD = WindowModel.cold(600)


def models(window_s):
    return ("7-0a1b2c3d", TRAINED) if window_s == 1200 else ("0", COLD)


def described(windows_s, seed=1):
    k, rng = len(windows_s), np.random.default_rng(seed)
    return Parameters(
        pa.array([f'"é😀\\{i}' for i in range(k)], pa.string()),
        pa.array([None if i % 2 else "line\nbreak" for i in range(k)], pa.string()),
        np.array(windows_s, float),
        rng.uniform(0, 1e9, k),
        rng.integers(10, 500, k),
        rng.exponential(50, k),
        rng.uniform(0, 0.98, k),
        rng.exponential(5, k),
        rng.normal(size=(k, len(FEATURES))),
    )


def strict(raw):
    def refuse(name):
        raise ValueError(name)

    return json.loads(raw, parse_constant=refuse)


def alerts(cascades):
    """Predictions in the order of the cascades."""
    ids, values = alert_values(cascades, models)
    found = dict(zip(ids.to_pylist(), map(strict, values.to_pylist()), strict=True))
    assert all(cid == alert["cid"] for cid, alert in found.items())
    return [found[cid] for cid in cascades.cid.to_pylist()]


def test_an_answer_without_trees_has_no_middle_and_is_valid_json():
    cascades = described([600] * 4)
    for alert, n in zip(alerts(cascades), cascades.n_obs.tolist(), strict=True):
        assert alert["mid"] is alert["half"] is None
        assert (alert["calibrated"], alert["model_version"]) == (False, "0")
        assert alert["n_tot"] == alert["n_tot_kn"] == pytest.approx(3.0 * n)


def test_every_cascade_is_answered_by_its_windows_model():
    cascades = described([1200, 600, 1200, 600, 600, 1200])
    found = alerts(cascades)
    rows = np.flatnonzero(cascades.window_s == 1200)
    expected = predict(TRAINED, cascades.X[rows], cascades.n_obs[rows])
    for place, row in enumerate(rows):
        alert = found[row]
        assert alert["model_version"] == "7-0a1b2c3d"
        assert alert["calibrated"] is True
        exact = (expected.n_tot, expected.n_tot_median, expected.mid, expected.half)
        assert [alert[name] for name in ("n_tot", "n_tot_median", "mid", "half")] == [a[place] for a in exact]
        assert alert["interval"] == [expected.lo[place], expected.hi[place]]
        assert alert["n_tot_kn"] == cascades.n_obs[row] * TRAINED.ratio
    assert [alert["T_obs"] for alert in found] == cascades.window_s.tolist()
    assert {found[i]["model_version"] for i in (1, 3, 4)} == {"0"}


def test_what_came_with_the_cascade_goes_with_the_alert():
    cascades = described([600, 1200, 600])
    for i, alert in enumerate(alerts(cascades)):
        assert alert["msg"] == cascades.text[i].as_py()
        assert (alert["t_root"], alert["n_obs"]) == (cascades.root_s[i], cascades.n_obs[i])
        assert alert["n_tot_hawkes"] == cascades.n_obs[i] + cascades.n_supp[i]
        assert (alert["n_star"], alert["G1"]) == (cascades.n_star[i], cascades.g1[i])
        assert alert["X"] == dict(zip(FEATURES, cascades.X[i].tolist(), strict=True))


def test_no_cascades_give_no_alerts():
    ids, values = alert_values(described([]), models)
    assert (len(ids), len(values)) == (0, 0)
