"""Silent partitions follow the wall clock."""

from __future__ import annotations

from contextlib import closing

import msgspec
import pytest

from jobs.runtime.clients import consumer, producer
from jobs.runtime.ticker import Ticker
from jobs.runtime.topics import TWEETS, topic_name


@pytest.fixture
def clock():
    class Clock:
        now = 1_000.0

        def __call__(self):
            return self.now

    return Clock()


def read_all(settings):
    """All tweets as (partition, value), in order."""
    found = []
    with closing(consumer(settings, "test", [topic_name(settings, TWEETS)])) as reader:
        while (message := reader.poll(5)) is not None:
            found.append((message.partition(), msgspec.json.decode(message.value())))
            if len(found) >= 4:
                break
    return found


def test_only_the_silent_partitions_are_ticked_and_with_the_present_time(kafka_settings, clock):
    with closing(Ticker(kafka_settings, clock)) as ticker:
        assert ticker.look() == 0
        clock.now += kafka_settings.cascades.idle_s - 1
        sender = producer(kafka_settings)
        sender.produce(topic_name(kafka_settings, TWEETS), b"{}", partition=2)
        sender.flush()
        assert ticker.look() == 0
        clock.now += 1
        assert ticker.look() == 3
    values = dict(read_all(kafka_settings))
    assert values.pop(2) == {}
    assert values == {i: {"type": "tick", "t": clock.now} for i in (0, 1, 3)}


def test_a_partition_is_ticked_once_per_idle_time(kafka_settings, clock):
    with closing(Ticker(kafka_settings, clock)) as ticker:
        ticker.look()
        clock.now += kafka_settings.cascades.idle_s
        assert ticker.look() == 4
        assert ticker.look() == 0
        clock.now += kafka_settings.cascades.idle_s
        assert ticker.look() == 4
