"""Predictions for described cascades: the values of the topic ``alerts``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from udfs.forest.parameters import Parameters, feature_objects
from udfs.forest.window_model import Predictions, WindowModel, predict
from udfs.json_rows import concat_text, json_numbers, json_strings
from udfs.ragged import Floats, Ints

#: From a window (s) to the version and the model that answers for it.
Models: TypeAlias = Callable[[int], tuple[str, WindowModel]]


def alert_values(cascades: Parameters, models: Models) -> tuple[pa.StringArray, pa.BinaryArray]:
    """Predict a batch, window by window; return the ids and the JSON of each prediction."""
    ids, values = [pa.array([], pa.string())], [pa.array([], pa.binary())]
    for window_s, rows in _by_window(cascades.window_s):
        version, model = models(window_s)
        chosen = _take(cascades, rows)
        answers = predict(model, chosen.X, chosen.n_obs)
        ids.append(chosen.cid)
        values.append(_values(chosen, answers, chosen.n_obs.astype(np.float64) * model.ratio, version))
    return pa.concat_arrays(ids), pa.concat_arrays(values)


def _by_window(window_s: Floats) -> Iterator[tuple[int, Ints]]:
    for window in np.unique(window_s):
        yield int(window), np.flatnonzero(window_s == window)


def _take(cascades: Parameters, rows: Ints) -> Parameters:
    picked = pa.array(rows)
    return Parameters(
        cascades.cid.take(picked),
        cascades.text.take(picked),
        cascades.window_s[rows],
        cascades.root_s[rows],
        cascades.n_obs[rows],
        cascades.n_supp[rows],
        cascades.n_star[rows],
        cascades.g1[rows],
        cascades.X[rows],
    )


def _values(cascades: Parameters, answers: Predictions, n_tot_kn: Floats, version: str) -> pa.BinaryArray:
    return concat_text(
        '{"type":"alert","cid":', json_strings(cascades.cid.to_pylist()),
        ',"msg":', json_strings(cascades.text.to_pylist()),
        ',"T_obs":', json_numbers(cascades.window_s),
        ',"t_root":', json_numbers(cascades.root_s),
        ',"n_tot":', json_numbers(answers.n_tot),
        ',"n_tot_median":', json_numbers(answers.n_tot_median),
        ',"n_tot_kn":', json_numbers(n_tot_kn),
        ',"n_tot_hawkes":', json_numbers(cascades.n_obs + cascades.n_supp),
        ',"n_obs":', json_numbers(cascades.n_obs),
        ',"interval":[', json_numbers(answers.lo), ",", json_numbers(answers.hi),
        '],"calibrated":', "true" if answers.calibrated else "false",
        ',"mid":', _or_null(answers.mid),
        ',"half":', _or_null(answers.half),
        ',"n_star":', json_numbers(cascades.n_star),
        ',"G1":', json_numbers(cascades.g1),
        ',"model_version":', json_strings([version])[0].as_py(),
        ',"X":', feature_objects(cascades.X), "}",
    ).cast(pa.binary())  # fmt: skip


def _or_null(values: Floats) -> pa.StringArray:
    return pc.if_else(pa.array(np.isfinite(values)), json_numbers(values), pa.scalar("null"))
