"""Whether queries keep up: what they have read, what there is to read, and how the difference grows."""

from __future__ import annotations

import bisect
import json
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec
from pyspark.sql.streaming.listener import StreamingQueryProgress

from jobs.runtime.progress import Progress
from jobs.runtime.settings import Settings
from jobs.runtime.topics import TOPICS, admin_client, topic_name

#: Time between two looks at the ends of the topics.
LOOK_S = 0.5
#: A rate is held when the lag grows by less than this share of the input, or by no more than so many of the
#: growth's standard errors above it.
SLOPE_SHARE, ERRORS = 0.02, 2.0
#: A line through fewer points has no error.
LEAST_POINTS = 3
#: Micro-batches whose worth of input may wait at the end of one.
BATCHES_BEHIND = 3.0
#: Fewer micro-batches than this show no trend.
LEAST_BATCHES = 4


@dataclass(frozen=True)
class Batch:
    """One micro-batch of a query; times in s since 1970."""

    start_s: float
    end_s: float
    rows: int
    ends: Mapping[str, int]
    """Records read of each topic so far."""
    durations_ms: Mapping[str, int]
    rows_per_s: float


class Recorder(Progress):
    """Keeps every micro-batch of every query."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: dict[str, list[Batch]] = defaultdict(list)

    def note(self, query: str, progress: StreamingQueryProgress) -> None:
        """Add one micro-batch."""
        super().note(query, progress)
        if not progress.numInputRows:
            return
        start_s = datetime.fromisoformat(progress.timestamp).timestamp()
        durations = {name: int(value) for name, value in progress.durationMs.items()}
        ends: dict[str, int] = defaultdict(int)
        for source in progress.sources:
            for topic, offsets in json.loads(source.endOffset).items():
                ends[topic] += sum(offsets.values())
        batch = Batch(
            start_s,
            start_s + durations["triggerExecution"] / 1000.0,
            progress.numInputRows,
            dict(ends),
            durations,
            float(progress.processedRowsPerSecond),
        )
        self.batches[query].append(batch)

    def between(self, query: str, start_s: float, stop_s: float) -> list[Batch]:
        """Return the micro-batches that ended in a stretch of time."""
        return [batch for batch in list(self.batches[query]) if start_s <= batch.end_s < stop_s]


class Ends:
    """Looks again and again at how many records each topic holds."""

    def __init__(self, settings: Settings) -> None:
        self._admin = admin_client(settings)
        self._places = [
            TopicPartition(topic_name(settings, topic), number)
            for topic in TOPICS
            for number in range(settings.kafka.partitions)
        ]
        self.times_s: list[float] = []
        self._totals: list[dict[str, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ends", daemon=True)
        self._thread.start()

    def offsets(self) -> dict[tuple[str, int], int]:
        """Return the end of every partition now."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        found = self._admin.list_offsets(dict.fromkeys(self._places, latest), request_timeout=10.0)
        return {(place.topic, place.partition): future.result().offset for place, future in found.items()}

    def at(self, topic: str, time_s: float) -> float:
        """Return how many records a topic held then, between two looks by interpolation."""
        right = min(len(self.times_s) - 1, bisect.bisect_left(self.times_s, time_s))
        left = max(0, right - 1)
        times = [self.times_s[left], self.times_s[right]]
        return float(np.interp(time_s, times, [self._totals[i].get(topic, 0) for i in (left, right)]))

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join(15)

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(KafkaException):
                totals: dict[str, int] = defaultdict(int)
                for (topic, _), offset in self.offsets().items():
                    totals[topic] += offset
                self._totals.append(dict(totals))
                self.times_s.append(time.time())
            self._stop.wait(LOOK_S)


def slope(times_s: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return the least-squares growth per second and its standard error; zeros of fewer than three points.

    >>> slope([0.0, 1.0, 2.0], [5.0, 7.0, 9.0])
    (2.0, 0.0)
    """
    if len(times_s) < LEAST_POINTS:
        return 0.0, 0.0
    t, y = np.asarray(times_s) - np.mean(times_s), np.asarray(values) - np.mean(values)
    growth = (t * y).sum() / (t * t).sum()
    error = np.sqrt(((y - growth * t) ** 2).sum() / (len(t) - 2) / (t * t).sum())
    return float(growth), float(error)


def judged(
    ends_s: Sequence[float], waiting: Sequence[float], seconds: Sequence[float], rate: float, trigger_s: float
) -> dict[str, object]:
    """Tell whether a query keeps up with ``rate`` records/s.

    Parameters
    ----------
    ends_s, waiting, seconds
        Of each micro-batch: when it ended, the records that waited then, how long it took. In a steady state
        those are the input of one micro-batch: a saw's teeth, seen at the same place of each.
    rate, trigger_s
        Input (records/s) and the least time between two micro-batches.

    Returns
    -------
    dict
        ``keeps_up`` is None where too few micro-batches ended to see a trend.

    """
    if not len(ends_s):
        return {"batches": 0, "keeps_up": None}
    growth, error = slope(ends_s, waiting)
    pace_s = max(trigger_s, float(np.median(seconds)))
    waits_s = waiting[-1] / rate if rate else 0.0
    near = waits_s <= BATCHES_BEHIND * pace_s
    steady = growth - ERRORS * error < SLOPE_SHARE * rate
    keeps_up = None if len(ends_s) < LEAST_BATCHES else bool(steady and near)
    return {
        "batches": len(ends_s),
        "input_per_s": rate,
        "lag_growth_per_s": growth,
        "lag_growth_error_per_s": error,
        "lag_growth_share": growth / rate if rate else 0.0,
        "lag_at_end": waiting[-1],
        "lag_at_end_s": waits_s,
        "batch_s": pace_s,
        "keeps_up": keeps_up,
    }


def followed(
    recorder: Recorder,
    ends: Ends,
    query: str,
    topics: Sequence[str],
    span_s: tuple[float, float],
    trigger_s: float,
) -> dict[str, object]:
    """Judge a query by the second half of a stretch of time; by all of it where that has too few batches."""
    start_s, stop_s = span_s
    middle_s = (start_s + stop_s) / 2.0
    batches = recorder.between(query, middle_s, stop_s)
    if len(batches) < LEAST_BATCHES:
        middle_s, batches = start_s, recorder.between(query, start_s, stop_s)
    rate = sum(ends.at(topic, stop_s) - ends.at(topic, middle_s) for topic in topics) / (stop_s - middle_s)
    waiting = [
        max(0.0, sum(ends.at(topic, batch.end_s) - batch.ends.get(topic, 0) for topic in topics))
        for batch in batches
    ]
    ends_s = [batch.end_s for batch in batches]
    return judged(ends_s, waiting, [batch.end_s - batch.start_s for batch in batches], rate, trigger_s)


def durations(batches: Sequence[Batch]) -> dict[str, object]:
    """Return where the time of micro-batches goes: number, rows, mean duration of each part (ms)."""
    if not batches:
        return {"batches": 0}
    names = sorted({name for batch in batches for name in batch.durations_ms})
    mean = {name: round(float(np.mean([b.durations_ms.get(name, 0) for b in batches])), 1) for name in names}
    rows = sum(batch.rows for batch in batches)
    busy_s = sum(batch.durations_ms["triggerExecution"] for batch in batches) / 1000.0
    return {
        "batches": len(batches),
        "rows_per_batch": rows / len(batches),
        "processed_rows_per_s": rows / busy_s if busy_s else 0.0,
        "duration_ms": mean,
    }
