"""Time for partitions in which nothing happens: ticks that follow the wall clock.

Where event time is the wall clock, a partition that falls silent would keep its windows open until its next
event. The ticker writes the time into the silent partition's log instead, so that what the collector sends
stays a function of the log alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from jobs.runtime.clients import client_config, producer
from jobs.runtime.messages import SCHEMA_HEADER, Tick
from jobs.runtime.settings import Settings
from jobs.runtime.topics import TWEETS, partition_count, topic_name

log = logging.getLogger(__name__)

#: Looks at the ends of the partitions in the time that makes one idle.
LOOKS_PER_IDLE = 4
REQUEST_TIMEOUT_S = 10.0


class Ticker:
    """Watches the partitions of ``tweets`` and ticks those that were silent for ``cascades.idle_s``."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._idle_s = settings.cascades.idle_s
        self._clock = clock
        self._topic = topic_name(settings, TWEETS)
        self._sender = producer(settings)
        config = {**client_config(settings), "group.id": "unused", "enable.auto.commit": False}
        self._consumer = Consumer(config)
        now = clock()
        self._seen = dict.fromkeys(range(partition_count(settings, TWEETS)), (-1, now))

    def look(self) -> int:
        """Tick every partition that has been silent long enough; return how many."""
        ticked = 0
        for partition, (end_before, since_s) in list(self._seen.items()):
            end = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), REQUEST_TIMEOUT_S
            )[1]
            now = self._clock()
            if end != end_before:
                self._seen[partition] = end, now
            elif now - since_s >= self._idle_s:
                value = msgspec.json.encode(Tick(t=now))
                self._sender.produce(self._topic, value, partition=partition, headers=SCHEMA_HEADER)
                self._seen[partition] = end + 1, now
                ticked += 1
        self._sender.flush(REQUEST_TIMEOUT_S)
        return ticked

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop; a broker that does not answer is asked again."""
        while not stop.wait(self._idle_s / LOOKS_PER_IDLE):
            try:
                self.look()
            except KafkaException as error:
                log.warning("cannot look for idle partitions", extra={"error": str(error)})

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
