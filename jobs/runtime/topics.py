"""The nine topics: what each holds, how long and how much is kept, and that they exist."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from jobs.runtime.clients import LEAST_MESSAGE_BYTES, client_config, largest_message_bytes
from jobs.runtime.errors import InfrastructureError
from jobs.runtime.settings import Settings

log = logging.getLogger(__name__)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MIB = 1 << 20
#: Longest wait for the brokers to answer one request.
REQUEST_TIMEOUT_S = 15.0
#: Longest wait for the leaders of new partitions: one broker takes 0.1 s.
LEADER_TIMEOUT_S = 60.0
#: Only closed segments are deleted or compacted: none stays open longer, or grows larger, than this.
SEGMENT_MS = DAY_MS
SEGMENT_BYTES = 64 * MIB


@dataclass(frozen=True)
class Topic:
    """What one topic holds and what is kept of it, in each partition."""

    name: str
    holds: str
    retention_ms: int
    retention_bytes: int
    cleanup: str = "delete"
    #: Largest message; 0 means as large as a partial at its event bound.
    max_message_bytes: int = LEAST_MESSAGE_BYTES


TWEETS = Topic("tweets", "tweets, retweets and ticks", 7 * DAY_MS, 1024 * MIB)
CASCADE_SERIES = Topic("cascade_series", "partial cascades", 7 * DAY_MS, 1024 * MIB, max_message_bytes=0)
CASCADE_PROPERTIES = Topic("cascade_properties", "sizes and parameters", 7 * DAY_MS, 512 * MIB)
ALERTS = Topic("alerts", "predictions", 7 * DAY_MS, 512 * MIB)
STATS = Topic("stats", "errors of predictions", 30 * DAY_MS, 256 * MIB)
SAMPLES = Topic("samples", "what the learner learns from", 30 * DAY_MS, 512 * MIB)
MODELS = Topic("models", "manifests of published models", -1, -1, cleanup="compact")
#: Base64 makes a third more of what the tweets topic let in, and the reason comes beside it.
DEAD_LETTERS = Topic(
    "dead_letters", "what could not be used, and why", 30 * DAY_MS, 256 * MIB, max_message_bytes=2 * MIB
)
LOGS = Topic("logs", "structured log records", 3 * DAY_MS, 128 * MIB)
TOPICS = (TWEETS, CASCADE_SERIES, CASCADE_PROPERTIES, ALERTS, STATS, SAMPLES, MODELS, DEAD_LETTERS, LOGS)


class TopicError(InfrastructureError):
    """A topic is missing, or the brokers do not let it be made."""


def topic_name(settings: Settings, topic: Topic) -> str:
    """Return the topic's full name, the prefix before it."""
    return settings.kafka.topic_prefix + topic.name


def topic_names(settings: Settings, *topics: Topic) -> dict[str, str]:
    """Return the full names of topics by their own."""
    return {topic.name: topic_name(settings, topic) for topic in topics}


def topic_config(settings: Settings, topic: Topic) -> dict[str, str]:
    """Return the topic's configuration in Kafka's words."""
    largest = topic.max_message_bytes or largest_message_bytes(settings)
    return {
        "cleanup.policy": topic.cleanup,
        "retention.ms": str(topic.retention_ms),
        "retention.bytes": str(topic.retention_bytes),
        "max.message.bytes": str(largest),
        "segment.bytes": str(max(SEGMENT_BYTES, 2 * largest)),
        "segment.ms": str(SEGMENT_MS),
        # Kept by arrival: a replay's producer may stamp records with event times years old.
        "message.timestamp.type": "LogAppendTime",
    }


def ensure_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing and wait until every partition answers.

    A topic that exists is left as it is: its owner may have tuned it.

    Returns
    -------
    list of str
        Full names of those created by this call.

    Raises
    ------
    TopicError
        The brokers do not answer or refuse; the text says why and what to do.

    """
    admin = admin_client(settings)
    known = partitions_by_topic(admin, settings)
    missing = [topic for topic in TOPICS if topic_name(settings, topic) not in known]
    created = _create(admin, settings, missing) if missing else []
    _await_leaders(admin, settings)
    for topic in TOPICS:
        count = known.get(topic_name(settings, topic), settings.kafka.partitions)
        if count != settings.kafka.partitions:
            log.warning(
                "topic has another number of partitions than kafka.partitions",
                extra={"topic": topic.name, "partitions": count, "setting": settings.kafka.partitions},
            )
    return created


def partition_count(settings: Settings, topic: Topic) -> int:
    """Return how many partitions the topic has.

    Raises
    ------
    TopicError
        It does not exist.

    """
    name = topic_name(settings, topic)
    known = partitions_by_topic(admin_client(settings), settings)
    if name not in known:
        raise TopicError(f"there is no topic {name}: create it with `tweetoscope topics`")
    return known[name]


def delete_topics(settings: Settings) -> list[str]:
    """Delete the topics of a non-empty prefix, for tests; return the names deleted.

    Raises
    ------
    TopicError
        There is no prefix, or the brokers refuse.

    """
    if not settings.kafka.topic_prefix:
        raise TopicError("topics are only deleted by prefix: set kafka.topic_prefix")
    admin = admin_client(settings)
    known = partitions_by_topic(admin, settings)
    names = [name for topic in TOPICS if (name := topic_name(settings, topic)) in known]
    if not names:
        return []
    futures: dict[str, Future[None]] = admin.delete_topics(names, operation_timeout=REQUEST_TIMEOUT_S)
    for name, future in futures.items():
        _settle(name, future, KafkaError.UNKNOWN_TOPIC_OR_PART)
    return names


def admin_client(settings: Settings) -> AdminClient:
    """Open an admin client; keep it referenced until its futures resolve."""
    return AdminClient({**client_config(settings), "log_level": 0})


def partitions_by_topic(admin: AdminClient, settings: Settings) -> dict[str, int]:
    """Return the number of partitions of every topic the brokers have.

    Raises
    ------
    TopicError
        They do not answer.

    """
    try:
        metadata = admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise _unanswered(settings, error.args[0].str()) from None
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _unanswered(settings: Settings, error: object) -> TopicError:
    return TopicError(
        f"no answer from Kafka at {settings.kafka.bootstrap_servers or 'no address'} ({error}): "
        "start one with `tweetoscope broker start`, or correct kafka.bootstrap_servers and its credentials"
    )


def _create(admin: AdminClient, settings: Settings, topics: Sequence[Topic]) -> list[str]:
    new = [
        NewTopic(
            topic_name(settings, topic),
            num_partitions=settings.kafka.partitions,
            replication_factor=settings.kafka.replication_factor,
            config=topic_config(settings, topic),
        )
        for topic in topics
    ]
    futures: dict[str, Future[None]] = admin.create_topics(new, operation_timeout=REQUEST_TIMEOUT_S)
    # Another job may create the same topics at this moment: then they exist, and that is all we want.
    return [
        name for name, future in futures.items() if _settle(name, future, KafkaError.TOPIC_ALREADY_EXISTS)
    ]


def _settle(name: str, future: Future[None], harmless: int) -> bool:
    try:
        future.result(timeout=2 * REQUEST_TIMEOUT_S)
    except KafkaException as failure:
        error = failure.args[0]
        if error.code() == harmless:
            return False
        raise TopicError(f"Kafka refused topic {name}: {error.str()}") from None
    return True


def _await_leaders(admin: AdminClient, settings: Settings) -> None:
    """Wait until the leader of every partition has told its end: only leaders may."""
    deadline = time.monotonic() + LEADER_TIMEOUT_S
    names = {topic_name(settings, topic) for topic in TOPICS}
    while True:
        known = partitions_by_topic(admin, settings)
        waiting = _leaderless(admin, {name: known.get(name, 0) for name in names})
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise TopicError(f"no leader after {LEADER_TIMEOUT_S:.0f} s: {waiting}; look at the brokers' log")
        time.sleep(0.1)


def _leaderless(admin: AdminClient, partitions: dict[str, int]) -> str:
    absent = [name for name, count in partitions.items() if not count]
    if absent:
        return ", ".join(absent)
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    wanted = {TopicPartition(name, i): latest for name, n in partitions.items() for i in range(n)}
    futures = admin.list_offsets(wanted, request_timeout=REQUEST_TIMEOUT_S)
    for partition, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            return f"{partition.topic}[{partition.partition}]: {error.args[0].str()}"
    return ""
