import json

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.forest.builders import some_cascades
from udfs.cascades.series import Series
from udfs.forest.features import FEATURES, features
from udfs.forest.parameters import parameter_values, read_parameters
from udfs.hawkes.fit import fit_map
from udfs.hawkes.model import rescaled


def described(count=60, seed=3):
    history = some_cascades(count, seed, 600)
    text = [None if i % 3 else f'"é😀\n{i}' for i in range(count)]
    rng = np.random.default_rng(seed)
    series = Series(
        pa.array([f'c"{i}' for i in range(count)]),
        pa.array(text, pa.string()),
        np.full(count, 600.0),
        rng.uniform(0, 1e9, count),
        history.lengths + 2,
        history,
    )
    fits = fit_map(history, series.window_s, rescaled(5.3))
    return series, fits, features(history, series.window_s, fits.beta, fits.n_star, fits.g1)


def test_what_the_estimator_writes_reads_back_exactly():
    series, fits, X = described()
    read, rejected = read_parameters(parameter_values(series, fits, X))
    assert rejected.rows == []
    assert read.cid.equals(series.cid)
    assert read.text.equals(series.text)
    for found, sent in (
        (read.window_s, series.window_s),
        (read.root_s, series.root_s),
        (read.n_obs, series.n_obs),
        (read.n_supp, fits.n_supp),
        (read.n_star, fits.n_star),
        (read.g1, fits.g1),
        (read.X, X),
    ):
        np.testing.assert_array_equal(found, sent)


def test_values_name_the_parameters_and_what_became_of_the_fit():
    series, fits, X = described(5)
    for i, raw in enumerate(parameter_values(series, fits, X).to_pylist()):
        value = json.loads(raw)
        assert (value["type"], value["params"]) == ("parameters", [fits.p[i], fits.beta[i]])
        assert value["fit"]
        assert list(value["X"]) == list(FEATURES)


GOOD = {
    "type": "parameters",
    "cid": "a",
    "msg": None,
    "T_obs": 600,
    "t_root": 1.5,
    "n_obs": 20,
    "n_supp": 3.0,
}
GOOD |= {
    "params": [0.1, 0.2],
    "n_star": 0.5,
    "G1": 1.5,
    "fit": "converged",
    "X": dict.fromkeys(FEATURES, 1.0),
}
SIZE = {"type": "size", "cid": "a", "T_obs": 600, "t_root": 1.5, "n_tot": 12, "t_end": 9.0}
BAD = {
    "no window": GOOD | {"T_obs": None},
    "a window of no second": GOOD | {"T_obs": 0},
    "a negative window": GOOD | {"T_obs": -1},
    "no whole second": GOOD | {"T_obs": 600.5},
    "a window beyond all": GOOD | {"T_obs": 1e300},
    "an empty id": GOOD | {"cid": ""},
    "a long id": GOOD | {"cid": "x" * 513},
    "nothing seen": GOOD | {"n_obs": 0},
    "a count beyond 64 bits": GOOD | {"n_obs": 2**63},
    "a fraction of an event": GOOD | {"n_obs": 1.5},
    "a negative rest": GOOD | {"n_supp": -1},
    "an explosive process": GOOD | {"n_star": 1},
    "a negative G1": GOOD | {"G1": -0.1},
    "no features": GOOD | {"X": None},
    "a feature missing": GOOD | {"X": dict.fromkeys(FEATURES[1:], 1.0)},
    "a feature null": GOOD | {"X": GOOD["X"] | {FEATURES[5]: None}},
    "a feature infinite": GOOD | {"X": GOOD["X"] | {FEATURES[5]: float("inf")}},
    "a feature as text": GOOD | {"X": GOOD["X"] | {FEATURES[5]: "1"}},
    "a size of nothing": SIZE | {"n_tot": 0},
    "a size beyond 64 bits": SIZE | {"n_tot": 10**30},
    "a size without end": {name: value for name, value in SIZE.items() if name != "t_end"},
    "a size of no cascade": SIZE | {"cid": ""},
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("beside", [b"no JSON", None], ids=["beside a bad one", "beside good ones"])
def test_a_bad_property_is_refused_and_harms_no_neighbour(name, beside):
    rows = [json.dumps(value).encode() for value in (GOOD, BAD[name], SIZE, GOOD | {"cid": "b"})]
    read, rejected = read_parameters(pa.array(rows + [beside] * (beside is not None), pa.binary()))
    assert read.cid.to_pylist() == ["a", "b"]
    assert read.X.shape == (2, len(FEATURES))
    assert [row for row in rejected.rows if row < 4] == [1]


def test_unknown_features_are_ignored():
    value = json.dumps(GOOD | {"X": GOOD["X"] | {"of_tomorrow": 1.0}}).encode()
    read, rejected = read_parameters(pa.array([value], pa.binary()))
    assert (rejected.rows, read.X.shape) == ([], (1, len(FEATURES)))
