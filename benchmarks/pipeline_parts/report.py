"""The figures as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: Parts of a micro-batch that are worth a column, in the order they happen.
PARTS = ("latestOffset", "queryPlanning", "walCommit", "addBatch", "commitOffsets", "triggerExecution")
CORES = ("spark_jvm", "python_workers", "kafka", "driver_python", "sender")


def rendered(figures: dict[str, Any]) -> str:
    """Return every section that there is."""
    return "\n".join(_lines(figures)) + "\n"


def _lines(figures: dict[str, Any]) -> Iterator[str]:
    if "ladder" in figures:
        yield from _ladder(figures["ladder"])
        yield f"Highest rate held: {figures['highest_sustained_rate']:,.0f} events/s"
    if figures.get("latency"):
        yield from _latency(figures["latency"])
    if "scale" in figures:
        yield from _scale(figures["scale"])


def _ladder(steps: list[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield f"{'rate':>8} {'held':>5} {'predictions/s':>13}  cores busy: " + "  ".join(CORES)
    for step in steps:
        cores = "  ".join(f"{step['cores_busy'].get(name, 0.0):{len(name)}.2f}" for name in CORES)
        held = "yes" if step["sustained"] else "no"
        yield f"{step['rate']:8,.0f} {held:>5} {step['predictions_per_s']:13,.0f}  {'':12}{cores}"
    yield ""
    yield (
        f"{'rate':>8}  {'query':9} {'keeps up':>8} {'lag (s)':>8} {'growth':>7} {'rows/batch':>11} "
        + " ".join(f"{name:>16}" for name in PARTS)
        + f" {'task cores':>10}"
    )
    for step in steps:
        for name, query in step["queries"].items():
            yield f"{step['rate']:8,.0f}  {name:9} {_query(query)}"


def _query(query: dict[str, Any]) -> str:
    lag, time = query["lag"], query["time"]
    word = {True: "yes", False: "no", None: "?"}[lag["keeps_up"]]
    spent = time.get("duration_ms", {})
    parts = " ".join(f"{spent.get(name, 0.0):13,.0f} ms" for name in PARTS)
    busy = query.get("cores_busy", {}).get("task_s", 0.0)
    return (
        f"{word:>8} {lag.get('lag_at_end_s', 0.0):8.1f} {lag.get('lag_growth_share', 0.0):7.1%} "
        f"{time.get('rows_per_batch', 0.0):11,.0f} {parts} {busy:10.2f}"
    )


def _latency(latency: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield (
        f"From the event that closes a window to its prediction, at {latency['rate']:,.0f} events/s, by "
        f"{latency['timestamps']}: {latency['predictions']:,} predictions, {latency['missing']:,} missing"
    )
    yield f"{'':26} {'p50':>8} {'p95':>8} {'p99':>8} {'largest':>8}"
    rows = {"the whole way": latency["seconds"]} | {
        f"hop {name}": hop for name, hop in latency["hops"].items()
    }
    for name, seconds in rows.items():
        if seconds:
            values = " ".join(f"{seconds[rank]:6.2f} s" for rank in ("p50", "p95", "p99", "max"))
            yield f"{name:26} {values}"
    yield f"The hop that costs most is that of {latency['costliest_hop']}."


def _scale(rounds: list[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield f"{'partitions':>10} {'events/s':>10} {'warm batches':>13}  CPU s per million events"
    for found in rounds:
        used = "  ".join(f"{name} {s:.2f}" for name, s in found["cpu_s_per_million_events"].items())
        yield f"{found['partitions']:10} {found['events_per_s']:10,.0f} {found['warm_batches']:13}  {used}"
