"""What a stream of a given rate needs, worked out from what was measured: writes ``results/scale.md``.

``make bench-scale`` reads ``collector.json``, ``hawkes_fits.json`` and, if it is there, ``pipeline.json``.
Rates beyond this machine are extrapolated in proportion: CPU grows with events, memory with what is alive.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
RATES = (10_000, 100_000, 1_000_000)
#: Of a core, so that a backlog is caught up with.
BUSY = 0.5
#: Of the measured streams: seconds that a cascade is open, from its root to 1800 s after its last event.
OPEN_S = 2200
#: Kafka's records of 160 bytes arrive compressed to about half.
RECORD_BYTES = 160


def measured(case: str, results: dict[str, Any]) -> dict[str, Any]:
    """Return what our collector took in a case."""
    found: dict[str, Any] = results["cases"][case]["ours"]
    return found


def prediction(pipeline: dict[str, Any]) -> list[str]:
    """Return the line on what a prediction takes: tasks of estimate and predict, at the highest rate held."""
    steps = [step for step in pipeline.get("ladder", []) if step["sustained"]]
    if not steps:
        return []
    step = max(steps, key=lambda step: float(step["rate"]))
    task_s = sum(step["queries"][name]["cores_busy"]["task_s"] for name in ("estimate", "predict"))
    per_s = step["predictions_per_s"]
    return [
        f"| a prediction in tasks of `estimate` and `predict`, at {step['rate']:,.0f} events/s "
        f"({per_s:,.0f} predictions/s) | {1000 * task_s / per_s:.2f} ms |"
    ]


def page(collector: dict[str, Any], fits: dict[str, Any], pipeline: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    small, large = measured("93k_live_400k_batch", collector), measured("1200k_live_400k_batch", collector)
    costly = [case["ours"] for name, case in collector["cases"].items() if "_400k_" in name]
    cpu = max(case["cpu_s_per_million"]["median"] for case in costly)
    alive = [collector["data"][name]["open_cascades"]["mean"] for name in ("live_93k", "live_1200k")]
    peaks = [case["peak_mb"]["total"]["median"] for case in (small, large)]
    held = large["held"]
    mapped, kept = (held[name] / held["open"] for name in ("memory_bytes", "state_bytes"))
    per_cascade = max(mapped, (peaks[1] - peaks[0]) * 1e6 / (alive[1] - alive[0]))
    stored = max(
        [v for k, v in collector.items() if k.startswith("checkpoint_bytes_per_event")]
        or [large["checkpoint_bytes_per_event"]["median"]]
    )
    machine = collector["machine"]
    lines = [
        "# What a stream needs", "",
        "Worked out by `make bench-scale` from the measurements beside this file "
        f"({machine['cores']} cores, {machine['cpu']}, {machine['measured']}). "
        "Rates beyond this machine are in proportion.", "",
        "| cost | measured |", "|---|---|",
        f"| an event in the collector | {cpu:.1f} µs of one core |",
        f"| an event in the checkpoint, rewriting and snapshots included | {stored:.0f} bytes |",
        f"| a live cascade in mapped files, room included | {mapped:.0f} bytes |",
        f"| a live cascade in the checkpoint, with the events since | {kept:.0f} bytes |",
        f"| a live cascade, by the peaks of all processes at 93k and 1.2M | {per_cascade:.0f} bytes |",
        f"| all that does not grow with them | {peaks[0] / 1000 - per_cascade * alive[0] / 1e9:.1f} GB |",
        f"| a fit of 32 events | {1e6 / fits['fits_per_s']:.1f} µs of one core |",
        *prediction(pipeline), "",
        f"Assumed: cores {BUSY:.0%} busy, so that a backlog is caught up with; a cascade of 5.5 events is "
        f"open for {OPEN_S} s.", "",
        "| events/s | live cascades | cores, collector | memory, collector | partitions "
        "| checkpoint traffic | from Kafka |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for rate in RATES:
        live = rate / 5.5 * OPEN_S
        cores = max(1.0, rate * cpu / 1e6 / BUSY)
        memory = peaks[0] / 1000 + live * per_cascade / 1e9
        lines.append(
            f"| {rate:,} | {live / 1e6:.1f} M | {cores:.0f} | {memory:.0f} GB "
            f"| {max(2, round(cores))} | {rate * stored / 1e6:.1f} MB/s "
            f"| {rate * RECORD_BYTES / 1e6:.0f} MB/s |"
        )
    if runs := pipeline.get("scale"):
        lines += [
            "",
            "The collector alone, reading a backlog from Kafka on this machine, one task per partition:",
            "",
        ]
        lines += ["| partitions | events/s | CPU s per million, JVM | Python |", "|---|---|---|---|"]
        for run in runs:
            used = run["cpu_s_per_million_events"]
            lines.append(
                f"| {run['partitions']} | {run['events_per_s']:,.0f} "
                f"| {used['spark_jvm']:.1f} | {used['python_workers']:.1f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page and print it."""
    files = [RESULTS / name for name in ("collector.json", "hawkes_fits.json", "pipeline.json")]
    collector, fits, pipeline = (
        json.loads(file.read_text("utf-8")) if file.is_file() else {} for file in files
    )
    if not collector or not fits:
        print("nothing measured yet: run make bench-collector bench-hawkes first", file=sys.stderr)
        return 1
    text = page(collector, fits, pipeline)
    (RESULTS / "scale.md").write_text(text, "utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
