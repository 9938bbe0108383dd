"""The benchmark's figures: merged into the file of earlier runs, as a table, as a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.collect.measure import ratios, spread

#: Figures of a round that are reported as median and spread.
FIGURES = ("events_per_s", "cpu_s_per_million", "checkpoint_bytes_per_event", "snapshot_bytes_per_event")
FIGURES += ("state_mb", "state_rows")
NAMES = {
    "ours": "Tweetoscope",
    "scala": "Scala flatMapGroupsWithState",
    "scala_from_json": "the same, parsed by from_json",
    "read": "Spark reads, noop sink",
    "flink": "PyFlink",
    "quix": "Quix Streams",
    "consumer": "one consumer, one event at a time",
}
_COLOURS = {"ours": "#1f6feb", "scala": "#d1632b", "scala_from_json": "#e5a07c", "read": "#9aa4b2"}
_OTHER_COLOUR = "#6b7280"


def case_name(dataset: str, batch: int, source: str) -> str:
    """Name a case.

    >>> case_name("live_93k", 400_000, "kafka")
    '93k_live_400k_batch_kafka'
    """
    return f"{dataset.removeprefix('live_')}_live_{batch // 1000}k_batch" + (
        "_kafka" if source == "kafka" else ""
    )


def summary(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up the rounds of one system in one case."""
    found: dict[str, Any] = {"rounds": len(rounds), "events_per_round": rounds[0]["events"]}
    for name in FIGURES:
        values = [r[name] for r in rounds if r.get(name) is not None]
        if values:
            found[name] = spread(values)
    peaks = [r["peak_mb"] for r in rounds if r.get("peak_mb")]
    if peaks:
        found["peak_mb"] = {kind: spread([peak[kind] for peak in peaks]) for kind in peaks[0]}
    if batch_ms := [ms for r in rounds for ms in r.get("batch_ms", ())]:
        found["batch_s"] = spread([ms / 1000 for ms in batch_ms])
    if "dropped" in rounds[0]:
        found["dropped_by_watermark"] = sum(r["dropped"] for r in rounds)
    for name in ("watermark_delay_s", "versions", "held"):
        if rounds[0].get(name):
            found[name] = rounds[0][name]
    return found


def case_ratios(case: str, rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """Return each ratio of this case's pairs of rounds under its name."""
    ours = [r["events_per_s"] for r in rounds.get("ours", ())]
    return {
        ratio_name(system, case): ratios(ours, [r["events_per_s"] for r in theirs])
        for system, theirs in rounds.items()
        if system != "ours" and theirs and len(theirs) == len(ours)
    }


def ratio_name(system: str, case: str) -> str:
    """Name the ratio of our rate to a system's in a case.

    >>> ratio_name("read", "93k_live_400k_batch_kafka"), ratio_name("flink", "93k_live_400k_batch_kafka")
    ('share_of_noop_read_93k_live_400k_batch_kafka', 'ratio_to_flink')
    """
    if system == "read":
        return f"share_of_noop_read_{case}"
    return f"ratio_to_{system}_{case}" if system.startswith("scala") else f"ratio_to_{system}"


def merge(path: Path, new: Mapping[str, Any]) -> dict[str, Any]:
    """Write new figures into the file, beside those it has of other cases and systems."""
    old: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    merged = _merged(old, new)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(merged, indent=1) + "\n", "utf-8")
    return merged


def _merged(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in new.items():
        inner = old.get(name)
        # What one system measured in one case is replaced as a whole.
        deeper = isinstance(value, dict) and isinstance(inner, dict) and name not in NAMES
        merged[name] = _merged(inner, value) if deeper else value
    return merged


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as Markdown tables."""
    lines = [
        "| case | system | events/s (least to most) | ratio | CPU s per million | peak memory, MB "
        "| checkpoint bytes per event | batch, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, systems in results.get("cases", {}).items():
        for system in [name for name in NAMES if name in systems]:
            lines.append(_row(case, system, systems[system], results))
    return "\n".join(lines)


def _row(case: str, system: str, found: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    rate = found["events_per_s"]
    ratio = results.get(ratio_name(system, case))
    memory = found.get("peak_mb", {})
    parts = [f"{memory[kind]['median']:,.0f} {kind}" for kind in ("jvm", "python") if kind in memory]
    told = " + ".join(parts) or (f"{memory['total']['median']:,.0f}" if "total" in memory else "")
    cells = [
        case,
        NAMES[system],
        f"{rate['median']:,.0f} ({rate['min']:,.0f} to {rate['max']:,.0f})",
        f"{ratio:.2f}" if ratio is not None else "",
        _median(found, "cpu_s_per_million", ".1f"),
        told,
        _median(found, "checkpoint_bytes_per_event", ".0f"),
        _median(found, "batch_s", ".2f"),
    ]
    return "| " + " | ".join(cells) + " |"


def _median(found: Mapping[str, Any], name: str, form: str) -> str:
    return format(found[name]["median"], form) if name in found else ""


def svg(results: Mapping[str, Any]) -> str:
    """Return the medians of events/s, with their spread, as bars."""
    bars = [
        (case if index == 0 else "", system, systems[system]["events_per_s"])
        for case, systems in results.get("cases", {}).items()
        for index, system in enumerate(name for name in NAMES if name in systems)
    ]
    most = max((rate["max"] for _, _, rate in bars), default=1.0)
    left, width, step = 230, 520, 18
    y, parts = 30, []
    for case, system, rate in bars:
        y += 12 if case else 0
        colour = _COLOURS.get(system, _OTHER_COLOUR)
        middle, low, high = (left + width * rate[key] / most for key in ("median", "min", "max"))
        parts += [
            f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{case.replace("_", " ")}</text>',
            f'<rect x="{left}" y="{y}" width="{middle - left:.1f}" height="14" fill="{colour}"/>',
            f'<path d="M{low:.1f} {y + 7}H{high:.1f}" stroke="#111827" stroke-width="2"/>',
            f'<text x="{high + 6:.1f}" y="{y + 11}">{rate["median"] / 1000:,.0f}k {NAMES[system]}</text>',
        ]
        y += step
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="1000" height="{y + 20}" font-family="sans-serif"'
    title = f'<text x="{left}" y="18" font-weight="bold">events/s, median and spread of the rounds</text>'
    ground = f'<rect width="1000" height="{y + 20}" fill="#ffffff"/>'
    return "\n".join([f'{head} font-size="11">', ground, title, *parts, "</svg>"]) + "\n"
