"""What the queries of a session have done so far: the counters they observe, and their pace."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from pyspark.sql.streaming.listener import StreamingQueryProgress
from pyspark.sql.streaming.query import StreamingQuery

#: Time between two looks; if several micro-batches ended meanwhile, Spark has kept the last hundred.
LOOK_S = 0.5


class Progress:
    """Sums the metrics that ``DataFrame.observe`` reports, by query; one number per counter, no more.

    It looks at the queries. A listener in Python would be told, but what it is told crosses from Java field
    by field: a fifth of a core for five queries.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._rates: dict[str, float] = {}
        self._last: dict[str, StreamingQueryProgress] = {}
        self._queries: Sequence[StreamingQuery] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def follow(self, queries: Sequence[StreamingQuery]) -> None:
        """Look at these queries from now on, until closed."""
        self._queries = queries
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

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

    def look(self) -> None:
        """Add the micro-batches that ended since the last look."""
        for query in self._queries:
            for progress in self._new(query):
                self.note(query.name, progress)

    def note(self, query: str, progress: StreamingQueryProgress) -> None:
        """Add one micro-batch."""
        with self._lock:
            mine = self._counts[query]
            mine["rows"] += progress.numInputRows or 0
            mine["batches"] += 1
            mine["dropped"] += sum(operator.numRowsDroppedByWatermark for operator in progress.stateOperators)
            self._rates[query] = float(progress.processedRowsPerSecond or 0)
        for row in progress.observedMetrics.values():
            self.add(query, row.asDict())

    def _new(self, query: StreamingQuery) -> Iterator[StreamingQueryProgress]:
        newest, last = query.lastProgress, self._last.get(query.name)
        if newest is None or (last and newest.timestamp == last.timestamp):
            return
        self._last[query.name] = newest
        if newest.batchId <= (last.batchId + 1 if last else 0):
            yield newest
        else:  # Times in ISO 8601 sort as text.
            yield from (p for p in query.recentProgress if not last or last.timestamp < p.timestamp)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.look()
