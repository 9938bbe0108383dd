"""From the event that closes a window to its prediction: when each record came to Kafka, hop by hop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, TopicPartition
from numpy.typing import NDArray

from benchmarks.pipeline_parts.record_batches import partition_of
from benchmarks.pipeline_parts.stream import Ints, Windows
from jobs.runtime.clients import client_config, largest_message_bytes
from jobs.runtime.settings import Settings
from jobs.runtime.topics import ALERTS, CASCADE_PROPERTIES, CASCADE_SERIES, Topic, topic_name

Floats = NDArray[np.float64]
#: Id, window (s) and root's time (ms).
Identity = tuple[str, int, int]
#: What comes after the closing event: the topic, the type of its values, who sent it.
HOPS = (
    (CASCADE_SERIES, "serie", "collect"),
    (CASCADE_PROPERTIES, "parameters", "estimate"),
    (ALERTS, "alert", "predict"),
)
#: Longest wait for records that are known to be there.
READ_S = 20.0


class _Named(msgspec.Struct):
    type: str
    cid: str
    T_obs: float
    t_root: float


def closing_events(event_ms: Ints, due_ms: Ints) -> Ints:
    """Return which event of a partition closes each window: the first that makes the clock reach its end.

    Parameters
    ----------
    event_ms
        Event times in the order of the partition's offsets.
    due_ms
        Root's time + window + allowed delay: the clock is the largest event time less the delay.

    Returns
    -------
    Ints
        -1 where an event before the first may have closed it, or no event is late enough.

    >>> closing_events(np.array([10, 30, 20, 50]), np.array([5, 30, 31, 60]))
    array([-1,  1,  3, -1])

    """
    found = np.searchsorted(np.maximum.accumulate(event_ms), due_ms, side="left")
    return np.where((found == 0) | (found == len(event_ms)), -1, found)


def percentiles(values: Floats) -> dict[str, float]:
    """Return mean, p50, p95, p99 and the largest; nothing of nothing.

    >>> percentiles(np.arange(101.0))
    {'mean': 50.0, 'p50': 50.0, 'p95': 95.0, 'p99': 99.0, 'max': 100.0}
    """
    if not len(values):
        return {}
    ranks = dict(zip(("p50", "p95", "p99"), np.percentile(values, [50, 95, 99]).tolist(), strict=True))
    return {"mean": float(values.mean()), **ranks, "max": float(values.max())}


def windows_kept(path: Path, partitions: int) -> tuple[Windows, Ints]:
    """Return the windows that the sender knows to hold enough events, and the partition of each."""
    with np.load(path) as sent:
        windows = Windows(sent["cascade"], sent["root_ms"], sent["window_s"])
    return windows, partition_of(windows.cascade, partitions)


def closings(path: Path, windows: Windows, where: Ints, delay_s: float) -> dict[Identity, float]:
    """Return when (s since 1970) the event that closes each window came to Kafka, by what the sender kept."""
    found: dict[Identity, float] = {}
    with np.load(path) as sent:
        for number in np.unique(where).tolist():
            mine = np.flatnonzero(where == number)
            due_ms = windows.root_ms[mine] + windows.window_s[mine] * 1000 + round(delay_s * 1000)
            event = closing_events(sent[f"event_ms_{number}"], due_ms)
            rows, event = mine[event >= 0], event[event >= 0]
            times_s = sent[f"append_ms_{number}"][event] / 1000.0
            for row, time_s in zip(rows.tolist(), times_s.tolist(), strict=True):
                identity = f"c{windows.cascade[row]}", int(windows.window_s[row]), int(windows.root_ms[row])
                found[identity] = time_s
    return found


def appended(
    settings: Settings, topic: Topic, kind: str, start: Mapping[int, int], stop: Mapping[int, int]
) -> tuple[dict[Identity, float], bool]:
    """Return when each value of a type first came to a topic, and whether the broker stamped all of them."""
    name = topic_name(settings, topic)
    config = {
        **client_config(settings),
        "group.id": "unused",
        "enable.auto.commit": False,
        "fetch.message.max.bytes": largest_message_bytes(settings),
    }
    reader, decoder = Consumer(config), msgspec.json.Decoder(_Named)
    reader.assign([TopicPartition(name, number, offset) for number, offset in start.items()])
    wanted = sum(stop[number] - offset for number, offset in start.items())
    found: dict[Identity, float] = {}
    read, stamped = 0, True
    try:
        while read < wanted:
            records = reader.consume(min(10_000, wanted - read), READ_S)
            if not records:
                raise RuntimeError(f"{read} of {wanted} records of {name} within {READ_S:.0f} s")
            read += len(records)
            for record in records:
                if record.error():
                    raise RuntimeError(f"{name}: {record.error()}")
                how, time_ms = record.timestamp()
                stamped &= how == TIMESTAMP_LOG_APPEND_TIME
                value = decoder.decode(record.value() or b"")
                if value.type == kind:
                    identity = value.cid, int(value.T_obs), round(value.t_root * 1000)
                    found.setdefault(identity, time_ms / 1000.0)
    finally:
        reader.close()
    return found, stamped


def hops(
    closed: Mapping[Identity, float], times: Mapping[str, Mapping[Identity, float]]
) -> dict[str, object]:
    """Return the percentiles of the whole way and of each hop (s), over the windows whose prediction came.

    ``times`` has, for each query of `HOPS` in order, when it sent its value.
    """
    names = [query for _, _, query in HOPS]
    known = [identity for identity in closed if all(identity in times[name] for name in names)]
    columns = [np.array([closed[identity] for identity in known])]
    columns += [np.array([times[name][identity] for identity in known]) for name in names]
    each = {name: percentiles(columns[i + 1] - columns[i]) for i, name in enumerate(names)}
    return {
        "windows_closed": len(closed),
        "predictions": len(known),
        "missing": len(closed) - len(known),
        "seconds": percentiles(columns[-1] - columns[0]),
        "hops": each,
        "costliest_hop": max(each, key=lambda name: each[name].get("p50", 0.0)),
    }
