"""The posts that are predicted to become most popular."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from jobs.runtime.knobs import Alerts
from jobs.runtime.messages import Alert

#: Posts kept for each one shown, so that one that expires has a successor.
KEPT_PER_SHOWN = 10


@dataclass(frozen=True)
class Post:
    """A popular post: its latest prediction, which is that of its largest window so far."""

    alert: Alert
    seen_s: float
    """When it was predicted, by the caller's clock."""


class Hottest:
    """At most ``knobs.hottest`` posts above ``knobs.threshold``, each for ``knobs.expire_s``.

    Ten times as many are kept; with more popular posts than that, the least popular is let go. Safe to read
    while another thread adds.
    """

    def __init__(self, knobs: Alerts, clock: Callable[[], float] = time.monotonic) -> None:
        self._knobs = knobs
        self._clock = clock
        self._lock = threading.Lock()
        self._posts: dict[str, Post] = {}

    def __len__(self) -> int:
        return len(self._posts)

    def add(self, alert: Alert) -> bool:
        """Take one prediction; return whether its post is popular."""
        popular = alert.popularity > self._knobs.threshold
        with self._lock:
            known = self._posts.get(alert.cid)
            if known and known.alert.window_s > alert.window_s:
                return popular
            if not popular:
                # A larger window knows better: a post that it finds unpopular is no longer shown.
                self._posts.pop(alert.cid, None)
                return False
            self._posts[alert.cid] = Post(alert, self._clock())
            if len(self._posts) > self._knobs.hottest * KEPT_PER_SHOWN:
                self._expire()
            if len(self._posts) > self._knobs.hottest * KEPT_PER_SHOWN:
                del self._posts[min(self._posts, key=lambda cid: self._posts[cid].alert.popularity)]
        return True

    def top(self) -> list[Post]:
        """Return the posts to show, the most popular first."""
        with self._lock:
            self._expire()
            ranked = sorted(self._posts.values(), key=lambda post: (-post.alert.popularity, post.alert.cid))
        return ranked[: self._knobs.hottest]

    def _expire(self) -> None:
        oldest_s = self._clock() - self._knobs.expire_s
        for cid in [cid for cid, post in self._posts.items() if post.seen_s <= oldest_s]:
            del self._posts[cid]
