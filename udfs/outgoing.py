"""Rows a job sends: Kafka records with the topic each goes to, and one row that counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa


def outgoing_sql(counters: Iterable[str] = ()) -> str:
    """Return the columns of ``outgoing`` with these counters, as Spark writes a schema.

    >>> outgoing_sql(["scored"])
    'topic string, key binary, value binary, scored long'
    """
    return ", ".join(["topic string, key binary, value binary", *(f"{name} long" for name in counters)])


def outgoing(
    records: Mapping[str, tuple[pa.Array, pa.Array]], counts: Mapping[str, int] | None = None
) -> pa.RecordBatch:
    """Join keys and values of several topics; ``counts`` add one row without a topic that carries them.

    >>> batch = outgoing({"alerts": (pa.array(["a"]), pa.array(["{}"]))}, {"scored": 1})
    >>> batch["topic"].to_pylist(), batch["scored"].to_pylist()
    (['alerts', None], [0, 1])
    """
    nothing = int(counts is not None)
    topics = [pa.array([topic] * len(keys), pa.string()) for topic, (keys, _) in records.items()]
    keys = [keys.cast(pa.binary()) for keys, _ in records.values()]
    values = [values.cast(pa.binary()) for _, values in records.values()]
    n = sum(map(len, keys))
    columns = {
        "topic": pa.concat_arrays([*topics, pa.nulls(nothing, pa.string())]),
        "key": pa.concat_arrays([*keys, pa.nulls(nothing, pa.binary())]),
        "value": pa.concat_arrays([*values, pa.nulls(nothing, pa.binary())]),
    }
    columns |= {name: pa.array([0] * n + [int(count)], pa.int64()) for name, count in (counts or {}).items()}
    return pa.RecordBatch.from_pydict(columns)
