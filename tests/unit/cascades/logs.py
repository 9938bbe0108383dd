"""Builders of a partition's log, and the collector run on one without Spark."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pyarrow as pa

from tests.oracle import Outcome
from udfs.cascades.bucket import EVENTS, Bucket, from_ipc, one_batch
from udfs.cascades.outcome import refused_letters, serie_values, size_values
from udfs.cascades.step import step
from udfs.cascades.tweets import Packer
from udfs.letters import LETTERS

RECORDS = pa.schema(
    [("key", pa.binary()), ("value", pa.binary()), ("partition", pa.int32()), ("offset", pa.int64())]
)


def value(kind, t, m=1.0, text=None):
    tick = {"type": "tick", "t": t}
    return json.dumps(tick if kind == "tick" else {"type": kind, "msg": text, "t": t, "m": m}).encode()


def records(log, partition=0):
    """Kafka records of a log of (offset, cid, kind, t, m, text)."""
    rows = [
        {
            "key": None if cid is None else cid.encode(),
            "value": value(kind, t, m, text),
            "partition": partition,
            "offset": offset,
        }
        for offset, cid, kind, t, m, text in log
    ]
    return pa.RecordBatch.from_pylist(rows, schema=RECORDS)


def collect(batches, rules, n_buckets=3) -> Outcome:
    """Run micro-batches (each a RecordBatch of RECORDS) through packing, buckets and their stored bytes."""
    states: dict[int, bytes] = {}
    out = Outcome()
    for batch in batches:
        packer = Packer(rules, n_buckets, "tweets")
        rows = [row for part in (*packer.pack(batch), *packer.clocks()) for row in part.to_pylist()]
        for b in {row["bucket"] for row in rows}:
            mine = [row for row in rows if row["bucket"] == b]
            np.random.default_rng(b).shuffle(mine)
            bucket = Bucket.from_bytes(states[b]) if b in states else Bucket.empty()
            events = one_batch(EVENTS, [from_ipc(row["events"], EVENTS) for row in mine])
            done = step(bucket, events, max(row["latest_s"] for row in mine), rules)
            states[b] = bucket.to_bytes(len(rules.windows_s))
            letters = [from_ipc(row["letters"], LETTERS) for row in mine]
            letters.append(refused_letters(done, "tweets", 0))
            _note(out, done, one_batch(LETTERS, letters))
    buckets = [Bucket.from_bytes(data) for data in states.values()]
    out.waiting = sum(bucket.pending.num_rows for bucket in buckets)
    out.open = sum(bucket.cascades(len(rules.windows_s)).num_rows for bucket in buckets)
    return out


def _note(out, done, letters):
    out.counted += done.counted
    out.counted_late += done.counted_late
    for raw in serie_values(done.windows).to_pylist():
        serie = msgspec.json.decode(raw)
        place = serie["cid"], serie["T_obs"], serie["t_root"]
        assert place not in out.partials
        out.partials[place] = {name: serie[name] for name in ("msg", "n_obs", "truncated", "tweets")}
    for raw in size_values(done.sizes).to_pylist():
        size = msgspec.json.decode(raw)
        place = size["cid"], size["T_obs"], size["t_root"]
        assert place not in out.sizes
        out.sizes[place] = size["n_tot"], size["t_end"]
    for letter in map(msgspec.json.decode, letters["value"].to_pylist()):
        out.letters.append((letter["reason"], letter["offset"]))
