"""What a bucket sends: partials, sizes and letters as Kafka records."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from udfs.cascades.advance import LATE, ORPHAN, REPEATED_ROOT, ROOT
from udfs.cascades.step import Sizes, Step, Windows
from udfs.json_rows import concat_text, json_numbers, json_strings
from udfs.letters import Letter, letter_batch

_REASON_OF_VERDICT = {
    ORPHAN: ("orphan", "a retweet of no open cascade"),
    LATE: ("late", "older than its partition's clock, and its cascade is over or was never open"),
    REPEATED_ROOT: ("repeated_root", "a second tweet with the id of an open cascade"),
}


class _Event(msgspec.Struct):
    """An event as the collector understood it."""

    type: str
    t: float
    m: float
    msg: str | None


def serie_values(windows: Windows) -> pa.BinaryArray:
    """Return each partial as the JSON of ``cascade_series``."""
    history = windows.history
    pairs = concat_text("[", json_numbers(history.times_s), ",", json_numbers(history.marks), "]")
    tweets = pc.binary_join(pa.ListArray.from_arrays(pa.array(history.offsets, pa.int32()), pairs), ",")
    truncated = pa.array(np.where(history.lengths < windows.size, "true", "false"), pa.string())
    return concat_text(
        '{"type":"serie","cid":', _json_ids(windows.cid),
        ',"msg":', json_strings(windows.text.to_pylist()),
        ',"T_obs":', json_numbers(windows.window_s),
        ',"t_root":', json_numbers(windows.root_s),
        ',"n_obs":', json_numbers(windows.size),
        ',"truncated":', truncated,
        ',"tweets":[', tweets, "]}",
    ).cast(pa.binary())  # fmt: skip


def size_values(sizes: Sizes) -> pa.BinaryArray:
    """Return each final size as the JSON of ``cascade_properties``."""
    return concat_text(
        '{"type":"size","cid":', _json_ids(sizes.cid),
        ',"T_obs":', json_numbers(sizes.window_s),
        ',"t_root":', json_numbers(sizes.root_s),
        ',"n_tot":', json_numbers(sizes.size),
        ',"t_end":', json_numbers(sizes.last_s), "}",
    ).cast(pa.binary())  # fmt: skip


def refused_letters(outcome: Step, topic: str, partition: int) -> pa.RecordBatch:
    """Return the letters of events that no cascade took; their value is the event as it was understood."""
    refused = outcome.refused
    kinds = np.where(refused["kind"].to_numpy() == ROOT, "tweet", "retweet").tolist()
    events = map(
        _Event,
        kinds,
        refused["event_s"].to_pylist(),
        refused["mark"].to_pylist(),
        refused["text"].to_pylist(),
    )
    values = msgspec.json.Encoder().encode_lines(list(events)).split(b"\n")[:-1]
    reasons = [_REASON_OF_VERDICT[verdict] for verdict in outcome.refused_as.tolist()]
    letters = map(
        Letter,
        refused["cid"].cast(pa.string()).to_pylist(),
        (reason for reason, _ in reasons),
        (detail for _, detail in reasons),
        [topic] * len(values),
        [partition] * len(values),
        refused["offset"].to_pylist(),
        values,
    )
    return letter_batch(refused["cid"], list(letters))


def _json_ids(ids: pa.BinaryArray) -> pa.StringArray:
    return json_strings(ids.cast(pa.string()).to_pylist())
