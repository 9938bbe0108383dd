import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.cascades.outcome import serie_values
from udfs.cascades.series import MAX_ID_BYTES, MAX_TEXT_BYTES, MAX_WINDOW_S, read_series
from udfs.cascades.step import Windows
from udfs.ragged import Ragged

MAX_BYTES = 1_000_000
finite = st.floats(0, 1e300, allow_nan=False)
cascade = st.lists(st.tuples(st.floats(0, 599.999), finite), max_size=8).map(
    lambda pairs: [(0.0, 7.0), *sorted(pairs, key=lambda pair: pair[0])]
)
named = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(named, st.none() | named, cascade, st.floats(0, 1e10), st.integers(0, 5)), max_size=6)
)
def test_what_the_collector_writes_reads_back_exactly(rows):
    history = Ragged.from_lists(*([[e[i] for e in events] for _, _, events, _, _ in rows] for i in (0, 1)))
    left_out = np.array([row[4] for row in rows], np.int64)
    windows = Windows(
        pa.array([row[0].encode() for row in rows], pa.binary()),
        pa.array([row[1] for row in rows], pa.string()),
        np.full(len(rows), 600.0),
        np.array([row[3] for row in rows], float),
        history.lengths + left_out,
        history,
    )
    values = serie_values(windows)
    truncated = [json.loads(value)["truncated"] for value in values.to_pylist()]
    assert truncated == (left_out > 0).tolist()
    read, rejected = read_series(values, MAX_BYTES)
    assert rejected.rows == []
    assert read.cid.to_pylist() == [row[0] for row in rows]
    assert read.text.to_pylist() == [row[1] for row in rows]
    np.testing.assert_array_equal(read.window_s, windows.window_s)
    np.testing.assert_array_equal(read.root_s, windows.root_s)
    np.testing.assert_array_equal(read.n_obs, windows.size)
    np.testing.assert_array_equal(read.history.offsets, history.offsets)
    np.testing.assert_array_equal(read.history.times_s, history.times_s)
    np.testing.assert_array_equal(read.history.marks, history.marks)


def serie(**fields):
    value = {
        "type": "serie",
        "cid": "a",
        "msg": None,
        "T_obs": 600,
        "t_root": 0,
        "n_obs": 2,
        "truncated": False,
    }
    return json.dumps(value | {"tweets": [[0, 1], [1.5, 2]]} | fields).encode()


BAD = {
    "no events": {"tweets": []},
    "no root": {"tweets": [[1, 1]]},
    "time runs back": {"tweets": [[0, 1], [5, 1], [4, 1]]},
    "an event at the window": {"tweets": [[0, 1], [600, 1]]},
    "a negative mark": {"tweets": [[0, 1], [1, -1]]},
    "an infinite mark": {"tweets": [[0, 1], [1, float("inf")]]},
    "a time that is NaN": {"tweets": [[0, 1], [float("nan"), 1]]},
    "a triple": {"tweets": [[0, 1], [1, 1, 1]]},
    "a single": {"tweets": [[0], [1, 1, 1]]},
    "an empty pair": {"tweets": [[0, 1], []]},
    "a null in a pair": {"tweets": [[0, None]]},
    "a null pair": {"tweets": [None]},
    "another type": {"type": "size"},
    "no id": {"cid": None},
    "an empty id": {"cid": ""},
    "a long id": {"cid": "é" * (MAX_ID_BYTES // 2) + "x"},
    "a long text": {"msg": "x" * (MAX_TEXT_BYTES + 1)},
    "a negative window": {"T_obs": -600},
    "half a second": {"T_obs": 0.5, "tweets": [[0, 1]]},
    "no whole second": {"T_obs": 600.5},
    "a window beyond all": {"T_obs": MAX_WINDOW_S + 1},
    "a count beyond 64 bits": {"n_obs": 10**30},
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize(
    "beside", [b"no JSON", serie(cid="c")], ids=["beside a bad one", "beside a good one"]
)
def test_a_bad_partial_is_refused_and_harms_no_neighbour(name, beside):
    read, rejected = read_series(pa.array([serie(), serie(**BAD[name]), beside, serie(cid="b")]), MAX_BYTES)
    assert [cid for cid in read.cid.to_pylist() if cid != "c"] == ["a", "b"]
    assert 1 in rejected.rows
    assert set(rejected.reasons) <= {"bad_field", "bad_json"}
    assert read.history.times_s[:2].tolist() == read.history.times_s[-2:].tolist() == [0, 1.5]


def test_the_bounds_themselves_are_allowed():
    value = serie(cid="é" * (MAX_ID_BYTES // 2), msg="x" * MAX_TEXT_BYTES, T_obs=MAX_WINDOW_S)
    read, rejected = read_series(pa.array([value, serie(T_obs=1, tweets=[[0, 0]])], pa.binary()), MAX_BYTES)
    assert rejected.rows == []
    assert len(read) == 2


def test_nothing_and_nothing_good_give_no_series():
    for values in ([], [b"x", None]):
        read, rejected = read_series(pa.array(values, pa.binary()), MAX_BYTES)
        assert (len(read), len(read.history), len(rejected.rows)) == (0, 0, len(values))
