"""Records sent to and read back from topics by a plain client, and queries run until they have read all."""

from __future__ import annotations

import json
from contextlib import contextmanager

from confluent_kafka import Consumer, TopicPartition

from jobs.runtime.clients import client_config, producer
from jobs.runtime.knobs import Spark
from jobs.runtime.topics import topic_name


def send(settings, topic, records):
    """Send (key, value) or (key, value, partition), in order; a key's partition is Kafka's own choice."""
    sender = producer(settings)
    for key, value, *partition in records:
        while True:
            try:
                sender.produce(topic_name(settings, topic), value, key, *partition)
                break
            except BufferError:
                sender.poll(0.1)
    assert sender.flush(30) == 0


def read(settings, topic):
    """Every record of a topic, by partition and in the order of offsets within each."""
    name = topic_name(settings, topic)
    reader = Consumer({**client_config(settings), "group.id": "unused", "fetch.message.max.bytes": 8_000_000})
    places = [TopicPartition(name, number, 0) for number in range(settings.kafka.partitions)]
    wanted = sum(reader.get_watermark_offsets(place, timeout=10)[1] for place in places)
    reader.assign(places)
    records = []
    while len(records) < wanted:
        batch = reader.consume(min(wanted - len(records), 50_000), 10)
        assert batch, f"{len(records)} of {wanted} records of {name} within 10 s"
        assert not any(record.error() for record in batch)
        records += batch
    reader.close()
    return sorted(records, key=lambda record: (record.partition(), record.offset()))


def values(settings, topic, kind=None):
    """The values of a topic, those of one type where it is given."""
    found = [json.loads(record.value()) for record in read(settings, topic)]
    return [value for value in found if kind is None or value["type"] == kind]


def with_batches(settings, rows):
    """Settings whose micro-batches hold at most ``rows`` and follow each other at once."""
    return settings.model_copy(update={"spark": Spark(ui_port=0, trigger_s=0, max_events_per_trigger=rows)})


@contextmanager
def running(queries):
    """Stop the queries in the end, whatever happens."""
    try:
        yield queries
    finally:
        for query in queries:
            query.stop()


def run_to_end(queries):
    """Let the queries read all there is, in the given order, then stop them; return what each observed."""
    with running(queries):
        for query in queries:
            query.processAllAvailable()
        return [observed(query) for query in queries]


def observed(query):
    """The sums of the counters that a query has observed in its last micro-batches, at most 100."""
    totals = {}
    for progress in query.recentProgress:
        for row in progress["observedMetrics"].values():
            for name, value in (row.asDict() if hasattr(row, "asDict") else row).items():
                totals[name] = totals.get(name, 0) + (value or 0)
    return totals
