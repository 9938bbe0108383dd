"""Scheduled events as records of the topic ``tweets``."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from jobs.runtime.messages import Tick, Tweet
from jobs.runtime.schedule import Schedule
from jobs.runtime.settings import Settings
from jobs.runtime.sources.cascades import Cascades


class Tweets:
    """Encodes any stretch of a schedule, a batch by one call."""

    def __init__(self, cascades: Cascades, schedule: Schedule, settings: Settings) -> None:
        self._schedule = schedule
        self._first = cascades.events.offsets[:-1]
        self._followers = cascades.events.marks
        self._texts = cascades.texts
        self._keys = [cid.encode() for cid in cascades.ids]
        self._infos = [f"cascade={cid}" for cid in cascades.ids]
        self._sources = [f"source-{number}" for number in range(1, settings.generator.sources + 1)]
        self._encoder = msgspec.json.Encoder()

    def records(self, start: int, stop: int) -> Iterator[tuple[bytes, bytes]]:
        """Return key and value of the events ``start:stop``."""
        part = slice(start, stop)
        numbers = self._schedule.cascade[part]
        positions = self._schedule.position[part]
        followers = self._followers[self._first[numbers] + positions].tolist()
        times_s = self._schedule.event_time_s[part].tolist()
        cascades, sources = numbers.tolist(), self._schedule.source[part].tolist()
        tweets = (
            Tweet(
                "retweet" if position else "tweet",
                None if position else self._texts[cascade],
                time_s,
                mark,
                self._sources[source],
                self._infos[cascade],
            )
            for cascade, position, time_s, mark, source in zip(
                cascades, positions.tolist(), times_s, followers, sources, strict=True
            )
        )
        # A JSON value holds no line end of its own, so the lines are the values.
        lines = self._encoder.encode_lines(tweets).split(b"\n")
        return zip((self._keys[cascade] for cascade in cascades), lines, strict=False)


def closing_tick(last_event_s: float, settings: Settings) -> bytes:
    """Return a tick after which every window and cascade up to ``last_event_s`` has closed.

    >>> closing_tick(100.0, Settings())
    b'{"type":"tick","t":3111.0}'
    """
    knobs = settings.cascades
    wait_s = knobs.terminated_s + knobs.windows_s[-1] + knobs.allowed_delay_s + 1
    return msgspec.json.encode(Tick(last_event_s + wait_s))
