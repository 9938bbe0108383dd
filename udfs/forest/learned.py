"""Samples read back from the topic ``samples``."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from udfs.cascades.series import MAX_WINDOW_S
from udfs.forest.features import FEATURES
from udfs.forest.parameters import MAX_BYTES
from udfs.forest.samples import Samples
from udfs.json_rows import JsonRows, Rejected

NUMBERS = ("n_obs", "n_tot", "n_tot_predicted", "n_tot_hawkes")
#: What is read of a sample, beside its features.
COLUMNS = ("cid", "T_obs", "t_root", *NUMBERS, "mid", "half")
_SCHEMA = pa.schema(
    [
        ("type", pa.string()),
        ("cid", pa.string()),
        *((name, pa.float64()) for name in COLUMNS[1:]),
        ("X", pa.struct([(name, pa.float64()) for name in FEATURES])),
    ]
)


class _Sample(msgspec.Struct):
    type: Literal["sample"]
    cid: str
    T_obs: float
    n_obs: float
    n_tot: float
    n_tot_predicted: float
    n_tot_hawkes: float
    X: dict[str, float]
    t_root: float = 0.0
    mid: float | None = None
    half: float | None = None


def read_samples(values: pa.BinaryArray) -> tuple[pa.RecordBatch, pa.Array, Rejected]:
    """Read a batch of values.

    Returns the sound samples, one column per name of ``COLUMNS`` and per feature; the place of each in the
    batch; and the rejected rows.
    """
    required = ("type", "cid", "T_obs", *NUMBERS, "X")
    table, places, rejected = JsonRows(_Sample, _SCHEMA, required, {"type": ("sample",)}, MAX_BYTES).read(
        values
    )
    columns = {name: table[name].combine_chunks() for name in COLUMNS}
    columns["t_root"] = columns["t_root"].fill_null(0.0)
    columns |= dict(zip(FEATURES, table["X"].combine_chunks().flatten(), strict=True))
    numbers = {name: columns[name].to_numpy(zero_copy_only=False) for name in ("T_obs", *NUMBERS, *FEATURES)}
    with np.errstate(invalid="ignore"):
        window_s = numbers["T_obs"]
        sound = (window_s >= 1) & (window_s <= MAX_WINDOW_S) & (window_s == np.floor(window_s))
        sound &= (numbers["n_obs"] >= 1) & (numbers["n_tot"] >= 1)
        for values_of in numbers.values():
            sound &= np.isfinite(values_of.astype(np.float64))
    for row in np.flatnonzero(~sound).tolist():
        rejected.add(int(places[row]), "bad_field", "a number is absent, not finite or out of its range")
    batch = pa.RecordBatch.from_pydict(columns).filter(pa.array(sound))
    return batch, pa.array(places[sound]), rejected


def samples_of(rows: pd.DataFrame) -> Samples:
    """Return one window's samples, from the columns of ``read_samples``, in the rows' order."""
    column = {name: rows[name].to_numpy(np.float64) for name in (*NUMBERS, "mid", "half")}
    return Samples(
        X=rows[list(FEATURES)].to_numpy(np.float64),
        n_obs=column["n_obs"],
        popularity=column["n_tot"],
        n_tot_predicted=column["n_tot_predicted"],
        n_tot_hawkes=column["n_tot_hawkes"],
        mid=column["mid"],
        half=column["half"],
    )
