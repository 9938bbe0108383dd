"""The rules as a KeyedProcessFunction of PyFlink, in a module of its own: Flink sends names, not code."""

from __future__ import annotations

import math
from binascii import a2b_base64, b2a_base64

from peer_worker import SLOTS, Progress, Run, Sent
from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ListStateDescriptor, ValueStateDescriptor
from rules_by_event import CASCADE_BYTES, EVENT_BYTES, Cascade, Event, Seen, letter, pack_event, unpack_events

#: Events kept beside the numbers, a value written whole with each event, before they move to the list.
NEWEST = 8


class Follow(KeyedProcessFunction):
    """Follow one cascade a key; a timer waits for what is due next.

    State is text, as bytes would cross to Java as tuples of numbers. At the end of a bounded input Flink lets
    time run to its end: all windows close and all cascades end.
    """

    def __init__(self, run: str) -> None:
        self._run = run

    def open(self, context: RuntimeContext) -> None:
        """Open the state, on a worker."""
        run = Run.from_json(self._run)
        slot = _own_slot(run)
        self._progress, self._sent = Progress(run.count_file, slot), Sent(run.output_file(slot))
        #: The cascade's numbers with its newest events.
        self._cascade = context.get_state(ValueStateDescriptor("cascade", Types.STRING()))
        self._older = context.get_list_state(ListStateDescriptor("older", Types.STRING()))
        self._text = context.get_state(ValueStateDescriptor("text", Types.STRING()))

    def close(self) -> None:
        """Write out what is buffered."""
        self._progress.tell()
        self._sent.close()

    def process_element(self, value: str, ctx: KeyedProcessFunction.Context) -> None:
        """Follow one event."""
        event_s, mark, *rest = value.split(" ", 2)
        event_s, mark = float(event_s), float(mark)
        self._progress.add()
        cascade, newest = self._load()
        if cascade is not None and cascade.is_due(event_s):
            cascade, newest = self._advance(cascade, newest, event_s, ctx.get_current_key())
        if rest and cascade is None:
            cascade = Cascade(event_s, event_s)
            ctx.timer_service().register_event_time_timer(_timer_ms(cascade))
            if rest[0] != "-":
                self._text.update(rest[0][1:])
        elif rest or cascade is None or event_s < cascade.root_s:
            self._sent.send([letter(Event("tweet" if rest else "retweet", event_s), ctx.get_current_key())])
            return
        if cascade.add(event_s):
            newest += pack_event(event_s - cascade.root_s, mark)
            if len(newest) == NEWEST * EVENT_BYTES:
                self._older.add(_as_text(newest))
                newest = b""
        self._cascade.update(_as_text(cascade.pack() + newest))

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> None:
        """Close what time has closed, and wait for what comes next."""
        cascade, newest = self._load()
        if cascade is None:
            return
        if cascade.is_due(timestamp / 1000):
            cascade, newest = self._advance(cascade, newest, timestamp / 1000, ctx.get_current_key())
            if cascade is None:
                return
            self._cascade.update(_as_text(cascade.pack() + newest))
        ctx.timer_service().register_event_time_timer(_timer_ms(cascade))

    def _load(self) -> tuple[Cascade | None, bytes]:
        """Return this key's cascade and its newest events."""
        state = self._cascade.value()
        if state is None:
            return None, b""
        packed = a2b_base64(state)
        return Cascade.unpack(packed), packed[CASCADE_BYTES:]

    def _advance(
        self, cascade: Cascade, newest: bytes, now_s: float, cid: str
    ) -> tuple[Cascade | None, bytes]:
        """Close what time has closed; return what is left of the cascade."""

        def past() -> tuple[str | None, list[Seen]]:
            older = b"".join(map(a2b_base64, self._older.get()))
            return self._text.value(), unpack_events(older + newest)

        observed = cascade.observed
        sent, ended = cascade.advance(now_s, cid, past)
        self._sent.send(sent)
        if observed and not cascade.observed:
            self._older.clear()
            self._text.clear()
            newest = b""
        if ended:
            self._cascade.clear()
        return (None, b"") if ended else (cascade, newest)


def _own_slot(run: Run) -> int:
    """Return a number no other worker has; in thread mode a context does not know its subtask's index."""
    for slot in range(SLOTS):
        try:
            (run.folder / f"slot-{slot}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return slot
    raise RuntimeError("more workers than slots")


def _as_text(packed: bytes) -> str:
    return b2a_base64(packed, newline=False).decode("ascii")


def _timer_ms(cascade: Cascade) -> int:
    """Return a moment at which the cascade is due for certain, whatever floats make of milliseconds."""
    return math.ceil(cascade.due_s * 1000) + 1
