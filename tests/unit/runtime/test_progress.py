from __future__ import annotations

from types import SimpleNamespace

import pytest
from pyspark.sql import Row

from jobs.runtime.progress import Progress


def batch(number, rows=10, **counters):
    return SimpleNamespace(
        batchId=number,
        timestamp=f"2026-01-01T00:00:{number:02d}.000Z",
        numInputRows=rows,
        processedRowsPerSecond=2.5,
        stateOperators=[SimpleNamespace(numRowsDroppedByWatermark=1)],
        observedMetrics={"collect": Row(**counters)} if counters else {},
    )


class Query:
    name = "collect"

    def __init__(self):
        self.recentProgress = []

    @property
    def lastProgress(self):
        return self.recentProgress[-1] if self.recentProgress else None


@pytest.fixture
def query():
    return Query()


@pytest.fixture
def progress(query, monkeypatch):
    """It looks only when told to."""
    monkeypatch.setattr("jobs.runtime.progress.LOOK_S", 3600.0)
    progress = Progress()
    progress.follow([query])
    yield progress
    progress.close()


def test_a_micro_batch_counts_once_however_often_it_is_seen(progress, query):
    query.recentProgress = [batch(0, partials=3)]
    for _ in range(3):
        progress.look()
    assert progress.counts("collect") == {"rows": 10, "batches": 1, "dropped": 1, "partials": 3}
    assert progress.rates() == {"collect": 2.5}


def test_micro_batches_between_two_looks_are_all_counted(progress, query):
    for last in (1, 2, 6):
        query.recentProgress = [batch(number, partials=1) for number in range(last)]
        progress.look()
    assert progress.counts("collect")["partials"] == 6


def test_a_query_that_went_on_from_its_checkpoint_is_counted_from_its_start(progress, query):
    query.recentProgress = [batch(40), batch(41)]
    progress.look()
    assert progress.counts("collect")["rows"] == 20


def test_what_is_not_reported_is_nothing(progress, query):
    progress.look()
    assert progress.counts("collect") == {}
    query.recentProgress = [batch(0, None, partials=None)]
    progress.look()
    assert progress.counts("collect") == {"rows": 0, "batches": 1, "dropped": 1, "partials": 0}


def test_closing_what_follows_nothing_is_no_error():
    Progress().close()
