"""The collector's rules one event at a time, in Python, as users of Python's stream libraries write them.

Events of a cascade come in order of event time. A cascade is a few numbers, beside which its owner keeps the
history and the text: in memory, or in a state store as what `Cascade.pack` and `pack_event` return.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from operator import itemgetter
from typing import Literal, TypeAlias

import msgspec

WINDOWS_S = (600.0, 1200.0)
TERMINATED_S = 1800.0
MIN_CASCADE_SIZE = 10
MAX_EVENTS_PER_WINDOW = 100_000

#: (seconds since the root, mark)
Seen: TypeAlias = tuple[float, float]
_CASCADE = struct.Struct("<ddIIBB")
_SEEN = struct.Struct("<dd")
#: Bytes of a packed cascade, without events, and of a packed event.
CASCADE_BYTES, EVENT_BYTES = _CASCADE.size, _SEEN.size
pack_event = _SEEN.pack
_by_age = itemgetter(0)


class Event(msgspec.Struct, gc=False):
    """What decides of a value of ``tweets``; its id is the record's key."""

    type: Literal["tweet", "retweet", "tick"]
    t: float
    m: float = 0.0
    msg: str | None = None


class Serie(msgspec.Struct, tag="serie", gc=False):
    """What was seen of a cascade when a window closed."""

    cid: str
    msg: str | None
    T_obs: float
    t_root: float
    n_obs: int
    truncated: bool
    tweets: list[Seen]


class Size(msgspec.Struct, tag="size", gc=False):
    """A cascade's final size, once for each window whose partial was sent."""

    cid: str
    T_obs: float
    t_root: float
    n_tot: int
    t_end: float


class _Letter(msgspec.Struct, gc=False):
    reason: Literal["orphan", "repeated_root"]
    cid: str
    t: float


parse = msgspec.json.Decoder(Event).decode
to_json = msgspec.json.Encoder().encode


def unpack_events(packed: bytes) -> list[Seen]:
    """Read a history.

    >>> unpack_events(pack_event(0.0, 5.0) + pack_event(1.5, 2.0))
    [(0.0, 5.0), (1.5, 2.0)]
    """
    return list(_SEEN.iter_unpack(packed))  # type: ignore[arg-type]


def letter(event: Event, cid: str) -> bytes:
    """Return the JSON of an event no cascade takes."""
    return to_json(_Letter("repeated_root" if event.type == "tweet" else "orphan", cid, event.t))


def first_after(start_s: float, wait_s: float) -> float:
    """Return the least float that lies ``wait_s`` after ``start_s`` when the difference is taken in floats.

    >>> 0.1 + 600 - 0.1 >= 600, first_after(0.1, 600.0) - 0.1 >= 600
    (True, True)
    """
    moment_s = start_s + wait_s
    while moment_s - start_s >= wait_s:
        moment_s = math.nextafter(moment_s, -math.inf)
    while moment_s - start_s < wait_s:
        moment_s = math.nextafter(moment_s, math.inf)
    return moment_s


class Cascade:
    """An open cascade, without its history and text."""

    __slots__ = ("closed", "kept", "last_s", "root_s", "sent", "size")

    def __init__(
        self, root_s: float, last_s: float, size: int = 0, kept: int = 0, closed: int = 0, sent: int = 0
    ) -> None:
        self.root_s, self.last_s = root_s, last_s
        self.size, self.kept = size, kept
        #: Windows that have closed; bit w of ``sent``: the partial of window w was sent.
        self.closed, self.sent = closed, sent

    @classmethod
    def unpack(cls, packed: bytes) -> Cascade:
        """Read the beginning of what :meth:`pack` wrote.

        >>> Cascade.unpack(Cascade(2.5, 3.5, 7, 6, 1, 1).pack() + b"more").size
        7
        """
        return cls(*_CASCADE.unpack_from(packed))

    def pack(self) -> bytes:
        """Return it as bytes."""
        return _CASCADE.pack(self.root_s, self.last_s, self.size, self.kept, self.closed, self.sent)

    @property
    def observed(self) -> bool:
        """Whether a window is open, for which history and text are kept."""
        return self.closed < len(WINDOWS_S)

    @property
    def due_s(self) -> float:
        """When time alone changes something next: a window closes or the cascade ends."""
        if self.observed:
            return first_after(self.root_s, WINDOWS_S[self.closed])
        return first_after(self.last_s, TERMINATED_S)

    def is_due(self, now_s: float) -> bool:
        """Tell whether :meth:`advance` has something to do."""
        if self.observed:
            return now_s - self.root_s >= WINDOWS_S[self.closed]
        return now_s - self.last_s >= TERMINATED_S

    def add(self, event_s: float) -> bool:
        """Count an event; tell whether the history keeps it."""
        self.size += 1
        self.last_s = max(self.last_s, event_s)
        if not self.observed or self.kept == MAX_EVENTS_PER_WINDOW:
            return False
        self.kept += 1
        return True

    def advance(
        self, now_s: float, cid: str, past: Callable[[], tuple[str | None, list[Seen]]]
    ) -> tuple[list[bytes], bool]:
        """Close what time has closed; return the JSON that is sent and whether the cascade has ended.

        ``past`` returns its text and history; it is asked only where a partial is sent.
        """
        out: list[bytes] = []
        while self.observed and now_s - self.root_s >= WINDOWS_S[self.closed]:
            if self.size >= MIN_CASCADE_SIZE:
                text, seen = past()
                seen.sort(key=_by_age)
                truncated = len(seen) < self.size
                window_s = WINDOWS_S[self.closed]
                serie = Serie(cid, text, window_s, self.root_s, self.size, truncated, seen)
                out.append(to_json(serie))
                self.sent |= 1 << self.closed
            self.closed += 1
        if now_s - self.last_s < TERMINATED_S:
            return out, False
        for place, window_s in enumerate(WINDOWS_S):
            if self.sent >> place & 1:
                out.append(to_json(Size(cid, window_s, self.root_s, self.size, self.last_s)))
        return out, True
