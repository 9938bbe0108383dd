"""Partial cascades read back from the topic ``cascade_series``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from udfs.json_rows import Bools, Int64, JsonRows, Rejected
from udfs.ragged import Floats, Ints, Ragged

#: The bounds that the settings set to what the collector sends.
MAX_ID_BYTES, MAX_TEXT_BYTES, MAX_WINDOW_S = 512, 65_536, 30 * 86_400
_SCHEMA = pa.schema(
    [
        ("type", pa.string()),
        ("cid", pa.string()),
        ("msg", pa.string()),
        ("T_obs", pa.float64()),
        ("t_root", pa.float64()),
        ("n_obs", pa.int64()),
        ("tweets", pa.list_(pa.list_(pa.float64()))),
    ]
)


class _Serie(msgspec.Struct):
    type: Literal["serie"]
    cid: str
    T_obs: float
    tweets: list[tuple[float, float]]
    t_root: float = 0.0
    n_obs: Int64 | None = None
    msg: str | None = None


@dataclass(frozen=True)
class Series:
    """A batch of k partial cascades."""

    cid: pa.StringArray
    text: pa.StringArray
    window_s: Floats
    root_s: Floats
    n_obs: Ints
    """Events in the window, those that a bounded history left out counted."""
    history: Ragged

    def __len__(self) -> int:
        return len(self.cid)


def read_series(values: pa.BinaryArray, max_bytes: int) -> tuple[Series, Rejected]:
    """Read a batch of values; those that are no partial cascade are rejected with their reason."""
    required = ("type", "cid", "T_obs", "t_root", "n_obs", "tweets")
    reader = JsonRows(_Serie, _SCHEMA, required, {"type": ("serie",)}, max_bytes)
    table, places, rejected = reader.read(values)
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    good = _pairs_are_sound(columns["tweets"], table["T_obs"].to_numpy())
    for row in np.flatnonzero(~good).tolist():
        detail = "tweets must be pairs [dt, m], dt rising from 0 to below T_obs, m not negative"
        rejected.add(int(places[row]), "bad_field", detail)
    named = names_are_sound(table)
    for row in np.flatnonzero(good & ~named).tolist():
        rejected.add(int(places[row]), "bad_field", "cid, msg or T_obs is out of its range")
    good &= named
    columns = {name: column.filter(pa.array(good)) for name, column in columns.items()}
    tweets = columns["tweets"]
    offsets = tweets.offsets.to_numpy().astype(np.int64)
    pairs = tweets.flatten().flatten().to_numpy()
    history = Ragged(offsets - offsets[0], pairs[0::2].copy(), pairs[1::2].copy())
    n_obs = columns["n_obs"].fill_null(0).to_numpy()
    series = Series(
        columns["cid"],
        columns["msg"],
        columns["T_obs"].to_numpy(),
        columns["t_root"].fill_null(0.0).to_numpy(),
        np.maximum(n_obs, history.lengths),
        history,
    )
    return series, rejected


def names_are_sound(table: pa.Table) -> Bools:
    """Tell which rows have an id, a text and a window that the collector can have sent.

    What is built of them is sent on: an id without bound would make a record that Kafka refuses, and a window
    of no whole second has no model.
    """
    id_bytes = pc.binary_length(table["cid"]).to_numpy()
    text_bytes = pc.fill_null(pc.binary_length(table["msg"]), 0).to_numpy()
    window_s = table["T_obs"].to_numpy()
    named = (id_bytes >= 1) & (id_bytes <= MAX_ID_BYTES) & (text_bytes <= MAX_TEXT_BYTES)
    watched = (window_s >= 1) & (window_s <= MAX_WINDOW_S) & (window_s == np.floor(window_s))
    return np.asarray(named & watched, bool)


def _pairs_are_sound(tweets: pa.ListArray, window_s: Floats) -> Bools:
    """Tell which rows are not empty lists of pairs [dt, m] in order, within their window."""
    lengths = np.diff(tweets.offsets.to_numpy())
    pairs = tweets.flatten()
    owner = np.repeat(np.arange(len(tweets)), lengths)
    widths = np.diff(pairs.offsets.to_numpy()) if len(pairs) else np.empty(0, np.int64)
    good: Bools = lengths > 0
    good[owner[widths != 2]] = False
    if not good.any() or not (widths == 2).all() or pairs.flatten().null_count:
        return _each_alone(tweets, window_s) if good.any() else good
    flat = pairs.flatten().to_numpy()
    dt, mark = flat[0::2], flat[1::2]
    first = np.diff(owner, prepend=-1) != 0
    before = np.where(first, 0.0, np.concatenate([[0.0], dt[:-1]]))
    with np.errstate(invalid="ignore"):
        sound = (dt >= before) & (dt < window_s[owner]) & (mark >= 0) & np.isfinite(mark)
    sound &= ~first | (dt == 0)
    good[owner[~sound]] = False
    return good


def _each_alone(tweets: pa.ListArray, window_s: Floats) -> Bools:
    """Judge rows one by one: only batches with a list that is no pair, or a null in one, come here."""
    good = np.zeros(len(tweets), bool)
    for row in range(len(tweets)):
        pairs = tweets[row].as_py()
        if pairs and all(pair and len(pair) == 2 and None not in pair for pair in pairs):
            one = pa.array([pairs], tweets.type)
            good[row] = _pairs_are_sound(one, window_s[row : row + 1])[0]
    return good
