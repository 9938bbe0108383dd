"""A producer that waits when its buffer is full and counts what was lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, Message

from jobs.runtime.clients import producer
from jobs.runtime.messages import SCHEMA_HEADER
from jobs.runtime.settings import Settings

log = logging.getLogger(__name__)

#: Longest time that sends may still take once told to stop.
STOP_FLUSH_S = 10.0
#: A full buffer is looked at again after this time.
FULL_WAIT_S = 0.05


class Losses:
    """Counts what was not delivered; apart from `Sender`, so that no cycle keeps a producer alive."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self.count = 0

    def note(self, error: object) -> None:
        """Count one; the first is logged, a million alike would say no more."""
        if not self.count:
            log.error("a record was not delivered", extra={"topic": self._topic, "error": str(error)})
        self.count += 1

    def on_delivery(self, error: KafkaError | None, _record: Message) -> None:
        """Take a delivery report."""
        if error is not None:
            self.note(error)


class Sender:
    """Sends records to one topic, in order of the calls; a record that is not delivered is counted.

    librdkafka's ``produce_batch`` takes no headers, and each record carries its schema in one: records are
    handed over one by one.
    """

    def __init__(self, settings: Settings, topic: str, stop: threading.Event) -> None:
        self._topic = topic
        self._stop = stop
        self._losses = Losses(topic)
        self._producer = producer(
            settings,
            **{
                "on_delivery": self._losses.on_delivery,
                "logger": log,
                "delivery.report.only.error": True,
                # Large batches beside a replay at full speed, and no delay that a 50 ms step would notice.
                "linger.ms": 20,
                "queue.buffering.max.messages": 100_000,
            },
        )

    @property
    def lost(self) -> int:
        """Records that were not delivered."""
        return self._losses.count

    def send(self, records: Iterable[tuple[bytes | None, bytes]]) -> int:
        """Queue keys and values until told to stop; return how many."""
        queued = 0
        produce, topic = self._producer.produce, self._topic
        for key, value in records:
            try:
                produce(topic, value, key, headers=SCHEMA_HEADER)
            except BufferError:
                if not self._wait_and_send(value, key):
                    break
            except KafkaException as error:
                self._losses.note(error.args[0])
            queued += 1
        self._producer.poll(0)
        return queued

    def send_to(self, partition: int, value: bytes) -> None:
        """Queue a value without a key to a partition."""
        try:
            self._producer.produce(self._topic, value, None, partition, headers=SCHEMA_HEADER)
        except (BufferError, KafkaException) as error:
            self._losses.note(error)

    def flush(self) -> None:
        """Wait until every record is delivered or lost; once told to stop, for ten seconds at most."""
        deadline: float | None = None
        while waiting := self._producer.flush(0.2):
            if not self._stop.is_set():
                continue
            deadline = deadline or time.monotonic() + STOP_FLUSH_S
            if time.monotonic() > deadline:
                self._producer.purge()
                self._producer.flush(1)
                log.error("records given up", extra={"records": waiting})
                return

    def _wait_and_send(self, value: bytes, key: bytes | None) -> bool:
        while not self._stop.is_set():
            self._producer.poll(FULL_WAIT_S)
            try:
                self._producer.produce(self._topic, value, key, headers=SCHEMA_HEADER)
            except BufferError:
                continue
            except KafkaException as error:
                self._losses.note(error.args[0])
            return True
        return False
