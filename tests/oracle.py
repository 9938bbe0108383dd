"""The collector's rules once more, written the slow and obvious way: one event at a time, plain Python.

It shares no code with the collector; tests compare the two on whole logs.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """Keys are (id, window, time of the root): an id may return after its cascade has ended."""

    partials: dict[tuple[str, float, float], dict] = field(default_factory=dict)
    sizes: dict[tuple[str, float, float], tuple[int, float]] = field(default_factory=dict)
    letters: list[tuple[str, int]] = field(default_factory=list)
    """(reason, offset)"""
    counted: int = 0
    counted_late: int = 0
    waiting: int = 0
    open: int = 0


@dataclass
class _Cascade:
    root_s: float
    text: str | None
    events: list[tuple[float, float]] = field(default_factory=list)
    last_s: float = -math.inf
    closed: int = 0
    sent: list[float] = field(default_factory=list)


def replay(log, rules) -> Outcome:
    """Run one partition's log, a list of (offset, cid, kind, t, m, text); kind is tweet, retweet or tick."""
    out = Outcome()
    open_: dict[str, _Cascade] = {}
    waiting: list = []
    latest = -math.inf

    def close_windows(cid, cascade, now):
        while cascade.closed < len(rules.windows_s):
            window = rules.windows_s[cascade.closed]
            if now - cascade.root_s < window:
                return
            if len(cascade.events) >= rules.min_cascade_size:
                kept = cascade.events[: rules.max_events_per_window]
                seen = sorted(((t - cascade.root_s, m) for t, m in kept), key=lambda pair: pair[0])
                out.partials[cid, window, cascade.root_s] = {
                    "msg": cascade.text,
                    "n_obs": len(cascade.events),
                    "truncated": len(kept) < len(cascade.events),
                    "tweets": [list(pair) for pair in seen],
                }
                cascade.sent.append(window)
            cascade.closed += 1

    def end_if_silent(cid, now):
        cascade = open_[cid]
        close_windows(cid, cascade, now)
        if now - cascade.last_s >= rules.terminated_s:
            for window in cascade.sent:
                out.sizes[cid, window, cascade.root_s] = (len(cascade.events), cascade.last_s)
            del open_[cid]

    def take(now, late, event):
        offset, cid, kind, t, m, text = event
        if cid in open_:
            end_if_silent(cid, now)
        cascade = open_.get(cid)
        if kind == "tweet":
            if cascade is not None:
                out.letters.append(("repeated_root", offset))
                return
            if now - t >= rules.terminated_s:
                out.letters.append(("late", offset))
                return
            cascade = open_[cid] = _Cascade(t, text, last_s=t)
            close_windows(cid, cascade, now)
        elif cascade is None or t < cascade.root_s:
            out.letters.append(("late" if late else "orphan", offset))
            return
        cascade.events.append((t, m))
        cascade.last_s = max(cascade.last_s, t)
        out.counted += 1
        missed = [w for w in rules.windows_s[: cascade.closed] if t - cascade.root_s < w]
        out.counted_late += bool(missed)

    for event in log:
        offset, _cid, kind, t, m, _text = event
        clock = latest - rules.allowed_delay_s
        if kind != "tick":
            if t < clock:
                take(clock, True, event)
            else:
                heapq.heappush(waiting, (t, kind == "retweet", m, offset, event))
        latest = max(latest, t)
        while waiting and waiting[0][0] < latest - rules.allowed_delay_s:
            take(waiting[0][0], False, heapq.heappop(waiting)[-1])
    for cid in list(open_):
        end_if_silent(cid, latest - rules.allowed_delay_s)
    out.waiting, out.open = len(waiting), len(open_)
    return out
