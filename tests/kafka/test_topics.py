import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType

from jobs.runtime import topics_table
from jobs.runtime.clients import consumer, largest_message_bytes, producer
from jobs.runtime.knobs import Kafka
from jobs.runtime.settings import Settings
from jobs.runtime.topics import (
    CASCADE_SERIES,
    MODELS,
    TOPICS,
    TWEETS,
    TopicError,
    admin_client,
    delete_topics,
    ensure_topics,
    partition_count,
    partitions_by_topic,
    topic_config,
    topic_name,
)


def with_prefix(settings, prefix, **changes):
    kafka = settings.kafka.model_copy(update={"topic_prefix": prefix, **changes})
    return settings.model_copy(update={"kafka": kafka})


def test_every_topic_has_its_partitions_and_configuration(kafka_settings):
    admin = admin_client(kafka_settings)
    for topic in TOPICS:
        assert partition_count(kafka_settings, topic) == kafka_settings.kafka.partitions
        resource = ConfigResource(ResourceType.TOPIC, topic_name(kafka_settings, topic))
        (future,) = admin.describe_configs([resource]).values()
        actual = {name: entry.value for name, entry in future.result().items()}
        wanted = topic_config(kafka_settings, topic)
        assert {name: actual[name] for name in wanted} == wanted


def test_a_second_call_creates_nothing(kafka_settings):
    assert ensure_topics(kafka_settings) == []


def test_jobs_that_start_together_create_each_topic_once(broker_settings):
    settings = with_prefix(broker_settings, "together.", partitions=1)
    with ThreadPoolExecutor(4) as pool:
        created = [name for names in pool.map(ensure_topics, [settings] * 4) for name in names]
    try:
        assert sorted(created) == sorted(topic_name(settings, topic) for topic in TOPICS)
    finally:
        delete_topics(settings)
    left = partitions_by_topic(admin_client(settings), settings)
    assert not [name for name in left if name.startswith("together.")]


def test_topics_without_a_prefix_are_never_deleted(broker_settings):
    with pytest.raises(TopicError, match="topic_prefix"):
        delete_topics(with_prefix(broker_settings, ""))


def test_a_missing_topic_is_named(broker_settings):
    with pytest.raises(TopicError, match=r"nowhere\.models.*tweetoscope topics"):
        partition_count(with_prefix(broker_settings, "nowhere."), MODELS)


def test_an_unreachable_broker_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setattr("jobs.runtime.topics.REQUEST_TIMEOUT_S", 0.5)
    with pytest.raises(TopicError, match=r"127\.0\.0\.1:1 .*tweetoscope broker start"):
        ensure_topics(Settings(kafka=Kafka(bootstrap_servers="127.0.0.1:1")))


def test_the_largest_partial_passes_and_comes_back_whole(kafka_settings):
    topic, failures = topic_name(kafka_settings, CASCADE_SERIES), []
    value = bytes(range(256)) * (largest_message_bytes(kafka_settings) // 256 - 8)
    sender = producer(kafka_settings, **{"compression.type": "none"})
    sender.produce(topic, value, b"cid", on_delivery=lambda error, _: failures.append(error))
    assert sender.flush(30) == 0
    assert failures == [None]
    reader = consumer(kafka_settings, "whole", [topic])
    message = reader.poll(30)
    reader.close()
    assert message.error() is None
    assert message.value() == value


def test_keys_lie_where_javas_partitioner_puts_them(kafka_settings):
    # murmur2 of the Java client (org.apache.kafka.common.utils.Utils) modulo 4, from its own unit test:
    # murmur2("21") = -973932308, "foobar" = -790332482, "a-little-bit-long-string" = -985981536.
    hashes = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    placed = {}
    sender = producer(kafka_settings)
    for key in hashes:
        sender.produce(
            topic_name(kafka_settings, TWEETS),
            b"{}",
            key,
            on_delivery=lambda _, message: placed.update({message.key(): message.partition()}),
        )
    assert sender.flush(30) == 0
    assert placed == {key: (number & 0x7FFFFFFF) % 4 for key, number in hashes.items()}


def test_the_command_shows_every_topic_as_the_broker_has_it(kafka_settings, capsys):
    kafka = kafka_settings.kafka
    flags = ["--kafka.bootstrap_servers", kafka.bootstrap_servers, "--kafka.topic_prefix", kafka.topic_prefix]
    assert topics_table.main(["--json", *flags]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["topic"] for row in rows] == [topic_name(kafka_settings, topic) for topic in TOPICS]
    assert {row["partitions"] for row in rows} == {4}
    assert not any(row["created"] for row in rows)
    assert topics_table.main(flags) == 0
    assert topic_name(kafka_settings, MODELS) in capsys.readouterr().out
