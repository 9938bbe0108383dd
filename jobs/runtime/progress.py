"""What the queries of a session have done so far: the counters they observe, and their pace."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping

from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)


class Progress(StreamingQueryListener):
    """Sums the metrics that ``DataFrame.observe`` reports, by query; one number per counter, no more."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._rates: dict[str, float] = {}

    def counts(self, query: str) -> dict[str, int]:
        """Return the sums of one query's counters since it was started."""
        with self._lock:
            return dict(self._counts[query])

    def add(self, query: str, counts: Mapping[str, object]) -> None:
        """Add what a micro-batch observed by itself."""
        with self._lock:
            for name, value in counts.items():
                self._counts[query][name] += int(str(value or 0))

    def rates(self) -> dict[str, float]:
        """Return the rows per second each query last processed."""
        with self._lock:
            return dict(self._rates)

    def onQueryProgress(self, event: QueryProgressEvent) -> None:  # noqa: N802
        """Add one micro-batch."""
        progress = event.progress
        with self._lock:
            mine = self._counts[progress.name or ""]
            mine["rows"] += progress.numInputRows
            mine["batches"] += 1
            mine["dropped"] += sum(operator.numRowsDroppedByWatermark for operator in progress.stateOperators)
            self._rates[progress.name or ""] = float(progress.processedRowsPerSecond)
        for row in progress.observedMetrics.values():
            self.add(progress.name or "", row.asDict())

    def onQueryStarted(self, event: QueryStartedEvent) -> None:  # noqa: N802
        """Note nothing."""

    def onQueryIdle(self, event: QueryIdleEvent) -> None:  # noqa: N802
        """Note nothing."""

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:  # noqa: N802
        """Note nothing."""
