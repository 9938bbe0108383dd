"""One input rate held for a while: whether every query keeps up, what it costs, how late predictions are."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pipeline_parts.cpu import Processes, cores
from benchmarks.pipeline_parts.latency import HOPS, appended, closings, hops, windows_kept
from benchmarks.pipeline_parts.load import Load
from benchmarks.pipeline_parts.running import STEADY, Running
from jobs import collect
from jobs.runtime.topics import ALERTS, topic_name

#: Time between two lines that say how it goes.
SAY_S = 10.0
#: What is sent counts as the asked rate from this share on.
SENT_SHARE = 0.98
#: Windows that close this close to the end of the load are left out: what follows them has less to do.
TAIL_S = 10.0
#: Longest wait for the acknowledgements once all should be sent.
LATE_S = 120.0


@dataclass(frozen=True)
class Pace:
    """How long a rate is held (s), after how long, and how long what is left may take."""

    seconds: float
    warm_s: float
    drain_s: float
    density: float


def say(text: str) -> None:
    """Tell a person what happens now."""
    sys.stderr.write(f"[{time.strftime('%H:%M:%S')}] {text}\n")
    sys.stderr.flush()


def filled(running: Running, load: Load, pace: Pace, fill_s: float) -> dict[str, Any]:
    """Send a first stretch of event time at once, so that cascades end as they begin; wait for its end."""
    events = int(fill_s * pace.density)
    facts = load.prepare(events)
    say(f"filling the state with {events:,} events; {facts['live_cascades']:,.0f} cascades will live at once")
    load.start()
    load.answer(LATE_S)
    start = time.monotonic()
    if not running.drained(STEADY, 3 * pace.drain_s):
        raise RuntimeError("the first events are not read in time: nothing can be measured")
    return {"live_cascades": facts["live_cascades"], "fill_s": round(time.monotonic() - start, 1)}


def held(
    running: Running, load: Load, processes: Processes, rate: float, pace: Pace, keep: Path | None = None
) -> tuple[dict[str, Any], tuple[float, float]]:
    """Hold one rate; return what was seen, and the measured stretch of time (s since 1970)."""
    facts = load.prepare(int(rate * (pace.warm_s + pace.seconds)), rate)
    start_s = load.start(keep) + pace.warm_s
    stop_s = start_s + pace.seconds
    _watch(running, start_s, f"{rate:,.0f} events/s, warm-up")
    cpu, tasks = processes.cpu_s(), running.tasks.total()
    _watch(running, stop_s, f"{rate:,.0f} events/s")
    cpu_now, tasks_now = processes.cpu_s(), running.tasks.total()
    sent = load.answer(LATE_S)
    seen = running.followed(start_s, stop_s)
    alerts = topic_name(running.settings, ALERTS)
    input_per_s = float(seen[collect.QUERY]["lag"].get("input_per_s", 0.0))  # type: ignore[attr-defined]
    keeps_up = {name: query["lag"]["keeps_up"] for name, query in seen.items()}  # type: ignore[index]
    step = {
        "rate": rate,
        "sustained": keeps_up[collect.QUERY] is True
        and False not in keeps_up.values()
        and input_per_s >= SENT_SHARE * rate,
        "seconds": pace.seconds,
        "input_per_s": input_per_s,
        "acceleration": rate / pace.density,
        "bytes_per_event_sent": facts["bytes_per_event"],
        "predictions_per_s": (running.ends.at(alerts, stop_s) - running.ends.at(alerts, start_s))
        / pace.seconds,
        "cores_busy": cores(cpu_now, cpu, pace.seconds),
        "memory_mb": processes.memory_mb(),
        "sender": sent,
        "queries": seen,
    }
    for name, query in seen.items():
        if name in tasks_now:
            query["cores_busy"] = cores(tasks_now[name], tasks.get(name, {}), pace.seconds)
    return step, (start_s, stop_s)


def _watch(running: Running, until_s: float, what: str) -> None:
    """Wait, with a line now and then; raise when a query fails."""
    said = time.monotonic()
    while (left_s := until_s - time.time()) > 0:
        time.sleep(min(0.25, left_s))
        running.check()
        if time.monotonic() - said > SAY_S:
            said = time.monotonic()
            lags = "  ".join(f"{name} {lag:,.0f}" for name, lag in running.lags().items())
            say(f"{what}, {left_s:.0f} s left; unread: {lags}")


def delayed(
    running: Running, load: Load, processes: Processes, rate: float, pace: Pace, folder: Path
) -> dict[str, Any]:
    """Hold one rate; return the step, and how long after its closing event each prediction came."""
    keep = folder / "sent.npz"
    before = running.ends.offsets()
    step, (start_s, stop_s) = held(running, load, processes, rate, pace, keep)
    drained = running.drained(STEADY[:3], pace.drain_s)
    after = running.ends.offsets()
    windows, where = windows_kept(keep, running.settings.kafka.partitions)
    closed = closings(keep, windows, where, running.settings.cascades.allowed_delay_s)
    keep.unlink()
    closed = {name: time_s for name, time_s in closed.items() if start_s <= time_s < stop_s - TAIL_S}
    times, stamped = {}, True
    for topic, kind, query in HOPS:
        full = topic_name(running.settings, topic)
        bounds = [{n: at for (name, n), at in ends.items() if name == full} for ends in (before, after)]
        times[query], by_broker = appended(running.settings, topic, kind, *bounds)
        stamped &= by_broker
    return {
        "rate": rate,
        "timestamps": "LogAppendTime" if stamped else "CreateTime",
        **hops(closed, times),
        "drained": drained,
        "step": step,
    }


def bottleneck(step: dict[str, Any]) -> str:
    """Return the first query of the chain that does not keep up, or nothing."""
    order = [name for name in step["queries"] if name in STEADY]
    order += [name for name in step["queries"] if name not in STEADY]
    slow = [name for name in order if step["queries"][name]["lag"]["keeps_up"] is False]
    return slow[0] if slow else ""
