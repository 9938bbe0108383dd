"""How fast something grows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

#: Looks that are remembered; at two a second more than the span needs.
MAX_LOOKS = 256


class Rate:
    """Growth per second of a counter over its last ``span_s`` seconds.

    >>> times = iter([0.0, 1.0, 2.0, 20.0])
    >>> rate = Rate(span_s=10.0, clock=lambda: next(times))
    >>> [rate.look(total) for total in (0, 5, 30, 30)]
    [0.0, 5.0, 15.0, 0.0]
    """

    def __init__(self, span_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._span_s = span_s
        self._clock = clock
        self._looks: deque[tuple[float, int]] = deque(maxlen=MAX_LOOKS)

    def look(self, total: int) -> float:
        """Note the counter's value now; return its growth per second."""
        now_s = self._clock()
        self._looks.append((now_s, total))
        # The one before the span stays: growth since then is spread over all the time since then.
        while len(self._looks) > 2 and self._looks[1][0] <= now_s - self._span_s:
            self._looks.popleft()
        before_s, before = self._looks[0]
        return (total - before) / (now_s - before_s) if now_s > before_s else 0.0
