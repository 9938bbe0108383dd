"""Builders of a partition's log, and the collector run on one without Spark."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import msgspec
import numpy as np
import pyarrow as pa

from tests.oracle import Outcome
from tests.unit.cascades.stores import Store
from udfs.cascades.tweets import Packer

RECORDS = pa.schema(
    [("key", pa.binary()), ("value", pa.binary()), ("partition", pa.int32()), ("offset", pa.int64())]
)
#: Bytes of events after which the tests' small journals are written anew, so that they are.
LEAST_LOG_BYTES = 4000


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


def packed(batch, rules, n_buckets):
    """What one micro-batch brings to each bucket, as rows, in any order."""
    packer = Packer(rules, n_buckets, "tweets")
    rows = [row for part in (*packer.pack(batch), *packer.clocks()) for row in part.to_pylist()]
    by_bucket = {b: [row for row in rows if row["bucket"] == b] for b in {row["bucket"] for row in rows}}
    for b, mine in by_bucket.items():
        np.random.default_rng(b).shuffle(mine)
    return by_bucket


def collect(batches, rules, n_buckets=3, mishaps=None) -> Outcome:
    """Run micro-batches (each a RecordBatch of RECORDS) through packing, buckets, journal and shelf.

    With a seed of ``mishaps``, some tasks of a micro-batch find no bucket, as after a restart or a lost
    worker, and some run once before in vain, as after a failed micro-batch.
    """
    luck = np.random.default_rng(mishaps)
    stores: dict[int, Store] = {}
    out = Outcome()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict("os.environ", SPARK_LOCAL_DIRS=folder),
        mock.patch("udfs.cascades.journal.LEAST_LOG_BYTES", LEAST_LOG_BYTES),
    ):
        for batch in batches:
            if mishaps is not None and luck.random() < 0.1:
                shutil.rmtree(Path(folder) / "buckets", ignore_errors=True)
            held = 0
            for b, rows in packed(batch, rules, n_buckets).items():
                store = stores.setdefault(b, Store())
                if mishaps is not None and luck.random() < 0.2:
                    lose(Path(folder), store.name, luck)
                if mishaps is not None and luck.random() < 0.2:
                    store.micro_batch(rules, rows, commit=False)
                held += _note(out, store.micro_batch(rules, rows))
            assert held == out.open
    return out


def lose(folder, name, luck):
    """Remove one of a bucket's files, as whoever cleans temporary files may."""
    found = sorted((folder / "buckets").glob(f"{name.hex()}.*")) if name else []
    if found:
        found[luck.integers(len(found))].unlink()


def _note(out, sent):
    """Note what a bucket sent and counted; return how many cascades it says are open."""
    *rows, counts = sent
    assert counts["topic"] is None
    for row in rows:
        _NOTE[row["topic"]](out, row["key"], msgspec.json.decode(row["value"]))
    out.counted += counts["counted"]
    out.counted_late += counts["counted_late"]
    out.waiting += counts["waiting"]
    out.open += counts["opened"] - counts["ended"]
    return counts["open"]


def _note_serie(out, key, serie):
    place = serie["cid"], serie["T_obs"], serie["t_root"]
    assert key == serie["cid"].encode()
    assert place not in out.partials
    out.partials[place] = {name: serie[name] for name in ("msg", "n_obs", "truncated", "tweets")}


def _note_size(out, key, size):
    place = size["cid"], size["T_obs"], size["t_root"]
    assert key == size["cid"].encode()
    assert place not in out.sizes
    out.sizes[place] = size["n_tot"], size["t_end"]


def _note_letter(out, key, letter):
    out.letters.append((letter["reason"], letter["offset"]))


_NOTE = {"cascade_series": _note_serie, "cascade_properties": _note_size, "dead_letters": _note_letter}
