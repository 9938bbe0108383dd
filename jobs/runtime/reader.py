"""A consumer of typed values: each once, what does not fit set aside with its reason."""

from __future__ import annotations

import logging
import time
from typing import Generic, Protocol, TypeVar

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from jobs.runtime.clients import consumer, producer
from jobs.runtime.dead_letters import dead_letter
from jobs.runtime.errors import InfrastructureError
from jobs.runtime.messages import SCHEMA_HEADER
from jobs.runtime.repeats import Repeats
from jobs.runtime.settings import Settings
from jobs.runtime.topics import DEAD_LETTERS, Topic, topic_name

log = logging.getLogger(__name__)

#: Records taken from the consumer at once.
MAX_RECORDS = 1000
#: Longest time to wait for dead letters to be delivered.
FLUSH_S = 10.0
#: Time between two commits.
COMMIT_S = 1.0
#: Offset that librdkafka gives where it knows none.
UNKNOWN_OFFSET = -1001


class Identified(Protocol):
    """A value that says what a repeat of it would have in common with it."""

    @property
    def identity(self) -> tuple[str, float, float | None]:
        """What a repeat has in common with the first."""
        ...


Value = TypeVar("Value", bound=Identified)


class ReaderError(InfrastructureError):
    """The consumer cannot go on."""


class Reader(Generic[Value]):
    """Reads one topic, from its beginning or where its group was when it stopped.

    What a poll returned is committed by a later poll, or by `close`: after a crash some values come again.

    Parameters
    ----------
    settings
        Where the brokers are.
    group
        Consumer group.
    topic
        What to read.
    kind
        The type of its values; fields it does not name are ignored.
    writes_letters
        Whether what does not fit goes to the dead letters; a second reader of a topic only counts it.

    """

    def __init__(
        self, settings: Settings, group: str, topic: Topic, kind: type[Value], *, writes_letters: bool = True
    ) -> None:
        self._topic = topic_name(settings, topic)
        self._letters_topic = topic_name(settings, DEAD_LETTERS)
        self._decoder = msgspec.json.Decoder(kind)
        self._repeats = Repeats()
        self._consumer: Consumer = consumer(settings, group, [self._topic], logger=log)
        self._producer = producer(settings, logger=log) if writes_letters else None
        self._committed_s, self._uncommitted = time.monotonic(), 0
        self.values = 0
        self.repeats = 0
        self.rejected: dict[str, int] = {}

    def poll(self, timeout_s: float) -> list[Value]:
        """Return the new values, in each partition in order, after at most ``timeout_s``.

        Raises
        ------
        ReaderError
            The brokers refuse: wrong credentials, no such topic.

        """
        if time.monotonic() - self._committed_s > COMMIT_S:
            self._commit()
        records = self._consumer.consume(MAX_RECORDS, timeout_s)
        self._uncommitted += len(records)
        values = [value for record in records if (value := self._decode(record)) is not None]
        self.values += len(values)
        if self._producer:
            self._producer.poll(0)
        return values

    def lag(self) -> int:
        """Return how many records wait, by what the last fetches told."""
        waiting = 0
        try:
            for place in self._consumer.position(self._consumer.assignment()):
                low, high = self._consumer.get_watermark_offsets(place, cached=True)
                if high != UNKNOWN_OFFSET:
                    waiting += max(0, high - (place.offset if place.offset >= 0 else max(low, 0)))
        except (KafkaException, RuntimeError):  # partitions are being handed out anew, or it is closed
            return waiting
        return waiting

    def close(self) -> None:
        """Leave the group and deliver the dead letters that wait."""
        self._commit()
        self._consumer.close()
        self._producer = None

    def _commit(self) -> None:
        """Keep the place in the topic; the dead letters of what lies before it are delivered first."""
        self._committed_s = time.monotonic()
        if self._producer and self._producer.flush(FLUSH_S):
            log.warning("dead letters could not be delivered", extra={"letters": len(self._producer)})
            return
        if not self._uncommitted:
            return
        try:
            self._consumer.commit(asynchronous=False)
            self._uncommitted = 0
        except KafkaException as error:  # what is not committed is read again, and dropped as a repeat
            log.warning("the place read to is not kept", extra={"topic": self._topic, "error": str(error)})

    def _decode(self, record: Message) -> Value | None:
        error = record.error()
        if error is not None:
            self._judge(error)
            return None
        raw = record.value()
        try:
            value: Value = self._decoder.decode(raw if raw is not None else b"")
        except msgspec.ValidationError as misfit:
            self._reject(record, "bad_field", str(misfit))
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as misfit:
            self._reject(record, "bad_json", str(misfit))
            return None
        if self._repeats.seen(value.identity):
            self.repeats += 1
            return None
        return value

    def _judge(self, error: KafkaError) -> None:
        """Raise what cannot pass; librdkafka tries the rest again by itself."""
        known = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        if error.fatal() or error.code() in known:
            raise ReaderError(
                f"cannot read {self._topic} ({error.str()}): create it with `tweetoscope topics`"
            )
        log.warning("reading again", extra={"topic": self._topic, "error": error.str()})

    def _reject(self, record: Message, reason: str, detail: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1
        if self._producer is None:
            return
        key = record.key()
        letter = dead_letter(
            reason,
            detail,
            record.value(),
            key=key,
            topic=self._topic,
            partition=record.partition() or 0,
            offset=record.offset() or 0,
        )
        deadline = time.monotonic() + FLUSH_S
        while True:
            try:
                self._producer.produce(self._letters_topic, letter, key, headers=SCHEMA_HEADER)
                return
            except BufferError:
                if time.monotonic() > deadline:
                    raise ReaderError("dead letters cannot be delivered: look at the brokers") from None
                self._producer.poll(0.1)
