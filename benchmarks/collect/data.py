"""The data sets of the collector's benchmark, as files of Kafka-shaped records and as Kafka topics."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.collect.cascades import KAFKA_PARTITIONS, Shape, Stream, flush, open_cascades, simulate

#: Changes whenever the events or their bytes do: files of another version are made anew.
VERSION = 2
#: The micro-batches of a round, a first one among them that does not count; more of 20,000, for a minute.
SIZES = ((400_000, 4), (100_000, 8), (20_000, 60))
DATASETS = {
    "live_93k": Shape(41.7, 1.16, 20_000, 2_400, 1_600_000, SIZES, open_cascades=93_000),
    "live_1200k": Shape(600.0, 2.0, 20_000, 2_300, 1_600_000, SIZES, open_cascades=1_200_000),
    "compare": Shape(8.0, 1.16, 2_000, 2_000, 60_000, ((20_000, 3),), warm_batch=20_000, orphans=50),
    "tiny": Shape(0.3, 1.16, 500, 2_000, 4_000, ((1_000, 4),), warm_batch=1_000, orphans=10),
}
#: Texts of about 70 characters: one in ten is not ASCII, one in thirty has a character that JSON escapes.
_WORDS = (  # noqa: SIM905
    "this is what people write when they have little to say about a thing that many of them saw this "
    "morning on their way to work and will have forgotten before the evening comes around again "
).split()
_TEXTS = 1024
#: When the first file was written, as its time stamp tells: Spark reads files in this order.
_FIRST_FILE_S = 1_700_000_000


def ensure(root: Path, name: str) -> Path:
    """Return the folder of a data set, made first unless it is there."""
    shape = DATASETS[name]
    digest = hashlib.sha256(f"{VERSION} {shape}".encode()).hexdigest()[:12]
    folder = root / f"{name}-{digest}"
    if (folder / "meta.json").is_file():
        return folder
    for stale in [*root.glob(f"{name}-*"), folder]:
        shutil.rmtree(stale, ignore_errors=True)
    stream = simulate(shape)
    meta: dict[str, object] = {"warm_events": stream.warm, "events": len(stream)}
    meta["stream_s"] = float(stream.t_ms[-1] / 1000)
    meta["kafka_skew_s"] = kafka_skew_s(stream)
    if shape.open_cascades:
        meta["open_cascades"] = counts = open_cascades(stream)
        if abs(counts["mean"] / shape.open_cascades - 1) > 0.05:
            raise AssertionError(f"{name}: {counts} cascades are open, not {shape.open_cascades}")
    offsets = np.zeros(KAFKA_PARTITIONS, np.int64)
    warm = _write(folder / "warm", stream.slice(slice(0, stream.warm)), shape.warm_batch, None, 0, offsets)
    measured = stream.slice(slice(stream.warm, None))
    for batch, count in shape.batches:
        _write(folder / str(batch), measured, batch, count, warm, offsets.copy())
    largest, start = len(measured), warm + 4 * len(measured)
    _write(folder / "measured", measured, largest, None, warm, offsets)
    last = flush(int(stream.t_ms[-1]))
    _write(folder / "flush", last, KAFKA_PARTITIONS, None, start, offsets)
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), "utf-8")
    return folder


def meta_of(folder: Path) -> dict[str, object]:
    """Return what is known of a data set."""
    known: dict[str, object] = json.loads((folder / "meta.json").read_text("utf-8"))
    return known


def records(folder: Path, *parts: str) -> Iterator[pa.Table]:
    """Yield the records of these parts, each partition's in order."""
    for part in parts:
        for path in sorted((folder / part).glob("*.parquet")):
            yield pq.read_table(path)


def kafka_skew_s(stream: Stream) -> float:
    """Return how far partitions are apart, in event time, when equal shares of each have been read.

    So Spark reads a topic that is longer than a micro-batch; a watermark has to wait as long.
    """
    worst = 0.0
    for part in (slice(0, stream.warm), slice(stream.warm, None)):
        t_s, place = stream.t_ms[part] / 1000, stream.partition[part]
        shares = np.linspace(0, 1, 401)
        times = [np.quantile(t_s[place == p], shares, method="higher") for p in range(KAFKA_PARTITIONS)]
        worst = max(worst, float(np.ptp(np.array(times)[:, 1:-1], axis=0).max()))
    return worst


def _write(
    folder: Path, stream: Stream, batch: int, count: int | None, first: int, offsets: np.ndarray
) -> int:
    """Write a file per batch and partition; ``offsets`` are advanced; return the number of the next file."""
    folder.mkdir(parents=True)
    starts = list(range(0, len(stream), batch))[:count]
    number = first
    for index, start in enumerate(starts):
        part = stream.slice(slice(start, start + batch))
        for partition in range(KAFKA_PARTITIONS):
            rows = np.flatnonzero(part.partition == partition)
            table = _records(part, rows, partition, int(offsets[partition]))
            offsets[partition] += len(rows)
            path = folder / f"b{index:04d}-p{partition}.parquet"
            # One row group: however Spark cuts files, one task reads all of it.
            pq.write_table(
                table, path, compression="lz4", use_dictionary=False, row_group_size=max(1, len(rows))
            )
            os.utime(path, (_FIRST_FILE_S + number, _FIRST_FILE_S + number))
            number += 1
    return number


def _records(stream: Stream, rows: np.ndarray, partition: int, first_offset: int) -> pa.Table:
    key = pa.array(stream.cid[rows]).cast(pa.string())
    return pa.table(
        {
            "key": key.cast(pa.binary()),
            "value": _values(stream, rows, key),
            "partition": np.full(len(rows), partition, np.int32),
            "offset": first_offset + np.arange(len(rows)),
        }
    )


def _values(stream: Stream, rows: np.ndarray, key: pa.StringArray) -> pa.BinaryArray:
    """Return the JSON of the topic ``tweets``."""
    t_ms, mark = stream.t_ms[rows], stream.mark[rows]
    kind = pa.array(["retweet", "tweet"]).take(pa.array(stream.root[rows].astype(np.int8)))
    text = pa.array(_texts()).take(pa.array((t_ms * 31 + mark) % _TEXTS))
    fraction = pc.utf8_lpad(pa.array(t_ms % 1000).cast(pa.string()), 3, "0")
    source = pa.array(mark % 5).cast(pa.string())
    parts = (
        '{"type":"', kind, '","msg":', text, ',"t":', pa.array(t_ms // 1000).cast(pa.string()), ".", fraction,
        ',"m":', pa.array(mark).cast(pa.string()), ',"source":"src', source, '","info":"cascade=', key, '"}',
    )  # fmt: skip
    joined = pc.binary_join_element_wise(*(pa.scalar(p) if isinstance(p, str) else p for p in parts), "")
    return joined.cast(pa.binary())


def _texts() -> list[str]:
    """Return texts as JSON strings."""
    rng = np.random.default_rng(11)
    texts = []
    for number in range(_TEXTS):
        text = " ".join(rng.permutation(_WORDS))[:70].strip()
        if number % 10 == 0:
            text = text.replace("e", "é", 3)[:66] + " 🎉"
        if number % 30 == 1:
            text = text[:60] + ' "quoted"\n'
        texts.append(json.dumps(text, ensure_ascii=False))
    return texts
