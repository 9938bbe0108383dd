"""How many events are due: the simulated clock and the rate limit."""

from __future__ import annotations

import numpy as np

from udfs.ragged import Floats

#: Longest time between two looks at the clock: short beside a micro-batch (500 ms), long beside a send.
STEP_S = 0.05


class Pace:
    """Says, at a time of the caller's clock, up to which event a stream may go.

    >>> pace = Pace(np.array([0.0, 10.0, 20.0, 30.0]), acceleration=10.0, max_events_per_s=0.0)
    >>> pace.due(sent=0, elapsed_s=0.0), pace.due(sent=1, elapsed_s=2.0), pace.wait_s(sent=3, elapsed_s=2.98)
    (1, 3, 0.02)
    """

    def __init__(self, event_time_s: Floats, acceleration: float, max_events_per_s: float) -> None:
        self._event_time_s = event_time_s
        self._acceleration = acceleration
        self._rate = max_events_per_s
        # A burst of at most one step, so that no second holds more than the limit and one step.
        self._burst = max(1.0, max_events_per_s * STEP_S)
        self._tokens, self._seen_s = self._burst, 0.0

    def due(self, sent: int, elapsed_s: float) -> int:
        """Return how many events may be out ``elapsed_s`` after the start, ``sent`` or more."""
        due = len(self._event_time_s)
        if self._acceleration:
            now_s = elapsed_s * self._acceleration
            due = max(sent, int(np.searchsorted(self._event_time_s, now_s, side="right")))
        if not self._rate:
            return due
        self._tokens = min(self._burst, self._tokens + (elapsed_s - self._seen_s) * self._rate)
        self._seen_s = elapsed_s
        return min(due, sent + int(self._tokens))

    def spend(self, events: int) -> None:
        """Take what was sent off the rate limit."""
        self._tokens -= events

    def wait_s(self, sent: int, elapsed_s: float) -> float:
        """Return how long to sleep before looking again, at most one step."""
        if not self._acceleration or sent >= len(self._event_time_s):
            return STEP_S
        until_s = float(self._event_time_s[sent]) / self._acceleration - elapsed_s
        # Due already, yet not sent: the rate limit holds it.
        return round(min(STEP_S, until_s), 6) if until_s > 0 else STEP_S
