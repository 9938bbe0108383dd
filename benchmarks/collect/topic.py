"""A data set's Kafka topic: made anew, filled part by part."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.collect.cascades import KAFKA_PARTITIONS
from benchmarks.collect.data import records
from jobs.runtime.clients import client_config, producer
from jobs.runtime.settings import Settings
from jobs.runtime.topics import TWEETS

TIMEOUT_S = 30.0
#: The bench reads its topics again and again: nothing may leave them.
_CONFIG = {"retention.ms": "-1", "retention.bytes": "-1", "message.timestamp.type": "LogAppendTime"}


def topic_of(dataset: str) -> str:
    """Return the name of a data set's topic: the project's own behind a prefix."""
    return f"bench.{dataset}.{TWEETS.name}"


def make_anew(settings: Settings, dataset: str) -> str:
    """Delete the data set's topic if there is one and make it; return its name."""
    admin = AdminClient({**client_config(settings), "log_level": 0})
    name = topic_of(dataset)
    if name in admin.list_topics(timeout=TIMEOUT_S).topics:
        admin.delete_topics([name], operation_timeout=TIMEOUT_S)[name].result()
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        new = NewTopic(name, num_partitions=KAFKA_PARTITIONS, replication_factor=1, config=_CONFIG)
        try:
            admin.create_topics([new], operation_timeout=TIMEOUT_S)[name].result()
            break
        except KafkaException:
            # A deleted topic's name is free a moment later.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    return name


def send(settings: Settings, dataset: str, folder: Path, parts: Sequence[str]) -> int:
    """Send parts of a data set; return how many records.

    Raises
    ------
    RuntimeError
        A record did not arrive, or Kafka's partitioner put one elsewhere than the files have it.

    """
    topic, sent, lost = topic_of(dataset), Counter[int](), Counter[str]()

    def on_delivery(error: object, _record: object) -> None:
        if error is not None:
            lost[str(error)] += 1

    before = ends(settings, topic)
    sender = producer(
        settings,
        **{"linger.ms": 50, "batch.size": 1_000_000, "batch.num.messages": 10_000,
           "queue.buffering.max.messages": 500_000, "delivery.report.only.error": True,
           "on_delivery": on_delivery},
    )  # fmt: skip
    for table in records(folder, *parts):
        keys, values = table["key"].to_pylist(), table["value"].to_pylist()
        sent.update(table["partition"].to_pylist())
        for key, value in zip(keys, values, strict=True):
            while True:
                try:
                    sender.produce(topic, value, key)
                    break
                except BufferError:
                    sender.poll(0.1)
        sender.poll(0)
    sender.flush()
    after = ends(settings, topic)
    arrived = {p: after[p] - before[p] for p in after}
    if lost or arrived != {p: sent[p] for p in after}:
        raise RuntimeError(f"{topic}: {dict(sent)} records were sent, {arrived} arrived, lost: {dict(lost)}")
    return sum(sent.values())


def ends(settings: Settings, topic: str) -> dict[int, int]:
    """Return where each partition of a topic ends."""
    reader = Consumer({**client_config(settings), "group.id": "bench-ends", "log_level": 0})
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while True:
            places = [TopicPartition(topic, partition) for partition in range(KAFKA_PARTITIONS)]
            try:
                return {p.partition: reader.get_watermark_offsets(p, timeout=TIMEOUT_S)[1] for p in places}
            except KafkaException:
                # A new partition has no leader for a moment.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
    finally:
        reader.close()
