"""What a streaming query reports of its micro-batches, as the figures of a round."""

from __future__ import annotations

from typing import Any

from benchmarks.collect.measure import Written
from jobs.collect import QUERY as COLLECT
from udfs.cascades.operator import GAUGES


def figures_of(
    batches: list[Any], cpu_s: float, peak_mb: dict[str, float], written: Written
) -> dict[str, Any]:
    """Sum up the micro-batches counted and what was measured meanwhile."""
    events = sum(batch["numInputRows"] for batch in batches)
    batch_ms = [batch["durationMs"]["triggerExecution"] for batch in batches]
    logged, snapshots = written.bytes()
    last = state_of(batches[-1])
    return {
        "events": events,
        "seconds": sum(batch_ms) / 1000,
        "events_per_s": events / sum(batch_ms) * 1000,
        "batch_ms": batch_ms,
        "cpu_s_per_million": cpu_s / events * 1e6,
        "peak_mb": peak_mb,
        "checkpoint_bytes_per_event": logged / events,
        "snapshot_bytes_per_event": snapshots / events,
        "state_rows": last["rows"],
        "state_mb": last["mb"],
        "dropped": sum(state_of(batch)["dropped"] for batch in batches),
        "held": held_by(batches[-1]),
    }


def held_by(progress: Any) -> dict[str, int]:
    """Return the gauges of our collector after a micro-batch: nothing for other systems."""
    observed = progress["observedMetrics"]
    return {name: observed[COLLECT][name] for name in GAUGES} if COLLECT in observed else {}


def state_of(progress: Any) -> dict[str, float]:
    """Return rows and memory of a micro-batch's state, and the rows dropped before it."""
    stores = progress["stateOperators"]
    return {
        "rows": sum(store["numRowsTotal"] for store in stores),
        "mb": round(sum(store["memoryUsedBytes"] for store in stores) / 1e6, 1),
        "dropped": sum(store["numRowsDroppedByWatermark"] for store in stores),
    }
