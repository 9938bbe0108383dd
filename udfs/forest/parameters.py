"""What the estimator says of a partial cascade: the values of type ``parameters``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa

from udfs.cascades.series import Series, names_are_sound
from udfs.forest.features import FEATURES
from udfs.hawkes.fit import STATUSES, Fits
from udfs.json_rows import Int64, JsonRows, Rejected, concat_text, json_numbers, json_strings
from udfs.ragged import Floats, Ints

#: A value has 22 numbers and an id; the text is bounded by the collector. No honest one is longer.
MAX_BYTES = 262_144
_X = pa.struct([(name, pa.float64()) for name in FEATURES])
_SCHEMA = pa.schema(
    [
        ("type", pa.string()),
        ("cid", pa.string()),
        ("msg", pa.string()),
        ("T_obs", pa.float64()),
        ("t_root", pa.float64()),
        ("n_obs", pa.int64()),
        ("n_supp", pa.float64()),
        ("n_star", pa.float64()),
        ("G1", pa.float64()),
        ("X", _X),
        ("n_tot", pa.int64()),
        ("t_end", pa.float64()),
    ]
)


class _Property(msgspec.Struct):
    """Either type of the topic; which fields a type needs is checked after reading."""

    type: Literal["parameters", "size"]
    cid: str
    T_obs: float
    t_root: float = 0.0
    msg: str | None = None
    n_obs: Int64 | None = None
    n_supp: float | None = None
    n_star: float | None = None
    G1: float | None = None
    X: dict[str, float] | None = None
    n_tot: Int64 | None = None
    t_end: float | None = None


@dataclass(frozen=True)
class Parameters:
    """A batch of k described cascades."""

    cid: pa.StringArray
    text: pa.StringArray
    window_s: Floats
    root_s: Floats
    n_obs: Ints
    n_supp: Floats
    n_star: Floats
    g1: Floats
    X: Floats
    """Shape (k, 22), columns ``FEATURES``."""

    def __len__(self) -> int:
        return len(self.cid)


def parameter_values(series: Series, fits: Fits, X: Floats) -> pa.BinaryArray:
    """Return each described cascade as the JSON of ``cascade_properties``."""
    status = pa.array(np.array(STATUSES)[fits.status], pa.string())
    return concat_text(
        '{"type":"parameters","cid":', json_strings(series.cid.to_pylist()),
        ',"msg":', json_strings(series.text.to_pylist()),
        ',"T_obs":', json_numbers(series.window_s),
        ',"t_root":', json_numbers(series.root_s),
        ',"n_obs":', json_numbers(series.n_obs),
        ',"n_supp":', json_numbers(fits.n_supp),
        ',"params":[', json_numbers(fits.p), ",", json_numbers(fits.beta),
        '],"n_star":', json_numbers(fits.n_star),
        ',"G1":', json_numbers(fits.g1),
        ',"fit":"', status, '","X":', feature_objects(X), "}",
    ).cast(pa.binary())  # fmt: skip


def feature_objects(X: Floats) -> pa.StringArray:
    """Return each row of X as a JSON object of named features."""
    parts: list[pa.StringArray | str] = []
    for i, name in enumerate(FEATURES):
        parts += [f'{"," if i else "{"}"{name}":', json_numbers(np.ascontiguousarray(X[:, i]))]
    return concat_text(*parts, "}")


def read_parameters(values: pa.BinaryArray) -> tuple[Parameters, Rejected]:
    """Read the parameters of a batch of ``cascade_properties``.

    Sizes are checked and left out; what is neither, or not whole, is rejected with its reason.
    """
    reader = JsonRows(
        _Property, _SCHEMA, ("type", "cid", "T_obs"), {"type": ("parameters", "size")}, MAX_BYTES
    )
    table, places, rejected = reader.read(values)
    is_size = np.asarray(table["type"].to_numpy() == "size", bool)
    X = _matrix(table["X"].combine_chunks())
    numbers = {name: table[name].to_numpy() for name in ("n_obs", "n_supp", "n_star", "G1", "n_tot", "t_end")}
    with np.errstate(invalid="ignore"):
        whole_size = (numbers["n_tot"] >= 1) & np.isfinite(numbers["t_end"])
        whole = (numbers["n_obs"] >= 1) & (numbers["n_supp"] >= 0) & (numbers["n_star"] < 1)
        whole &= (numbers["G1"] >= 0) & np.isfinite(X).all(axis=1)
    named = names_are_sound(table)
    whole, whole_size = whole & named, whole_size & named
    for row in np.flatnonzero(np.where(is_size, ~whole_size, ~whole)).tolist():
        rejected.add(int(places[row]), "bad_field", "a field of its type is absent, null or out of its range")
    wanted = whole & ~is_size
    columns = {name: table[name].combine_chunks().filter(pa.array(wanted)) for name in ("cid", "msg")}
    parameters = Parameters(
        columns["cid"],
        columns["msg"],
        table["T_obs"].to_numpy()[wanted],
        table["t_root"].fill_null(0.0).to_numpy()[wanted],
        numbers["n_obs"][wanted].astype(np.int64),
        numbers["n_supp"][wanted],
        numbers["n_star"][wanted],
        numbers["G1"][wanted],
        X[wanted],
    )
    return parameters, rejected


def _matrix(structs: pa.StructArray) -> Floats:
    if len(structs) == 0:
        return np.empty((0, len(FEATURES)))
    columns = [column.to_numpy(zero_copy_only=False).astype(np.float64) for column in structs.flatten()]
    return np.column_stack(columns)
