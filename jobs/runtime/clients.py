"""How a job reaches Kafka: one set of settings, said to librdkafka and to Spark."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Consumer, Producer

from jobs.runtime.knobs import Kafka
from jobs.runtime.settings import Settings

#: JSON bytes of one ``[dt,m]`` of a partial, at worst: two float64 of 24 characters and four signs.
BYTES_PER_EVENT = 52
#: The rest of a partial: its id and text, each byte of which JSON may write as ``\u00xx``.
BYTES_BESIDE_EVENTS = 512 * 1024
#: Kafka's own bound of a message, below which no topic is set.
LEAST_MESSAGE_BYTES = 1_048_588

_LOGIN_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


def largest_message_bytes(settings: Settings) -> int:
    """Return the size of the largest message any topic may carry: a partial at its event bound.

    >>> from jobs.runtime.settings import Settings
    >>> largest_message_bytes(Settings())
    5724288
    """
    partial = BYTES_BESIDE_EVENTS + BYTES_PER_EVENT * settings.cascades.max_events_per_window
    return max(LEAST_MESSAGE_BYTES, partial)


def client_config(settings: Settings) -> dict[str, str | int | float | bool]:
    """Say where the brokers are, and who we are, in librdkafka's names."""
    kafka = settings.kafka
    config: dict[str, str | int | float | bool] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.startswith("SASL"):
        config |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.sasl_username,
            "sasl.password": kafka.sasl_password.get_secret_value(),
        }
    if kafka.security_protocol.endswith("SSL") and kafka.ssl_ca_file:
        config["ssl.ca.location"] = kafka.ssl_ca_file
    return config


def spark_options(settings: Settings) -> dict[str, str]:
    """Say the same to Spark's Kafka source and sink.

    ``kafka.sasl.jaas.config`` holds the password: never print the options.
    """
    kafka = settings.kafka
    options = {
        "kafka.bootstrap.servers": kafka.bootstrap_servers,
        "kafka.security.protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.startswith("SASL"):
        options["kafka.sasl.mechanism"] = kafka.sasl_mechanism
        options["kafka.sasl.jaas.config"] = _jaas_line(kafka)
    if kafka.security_protocol.endswith("SSL") and kafka.ssl_ca_file:
        options["kafka.ssl.truststore.type"] = "PEM"
        options["kafka.ssl.truststore.location"] = kafka.ssl_ca_file
    return options


def spark_sink_options(settings: Settings) -> dict[str, str]:
    """Add what a sink needs: room for the largest partial, and batches worth compressing."""
    return spark_options(settings) | {
        "kafka.acks": "all",
        "kafka.compression.type": "lz4",
        "kafka.max.request.size": str(largest_message_bytes(settings)),
    }


def producer(settings: Settings, **extra: object) -> Producer:
    """Open a producer that repeats nothing within its session and places keys as Spark's does.

    Parameters
    ----------
    settings
        Where the brokers are.
    extra
        librdkafka settings, as ``**{"linger.ms": 5}``; the later wins.

    """
    config: dict[str, object] = {
        **client_config(settings),
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "lz4",
        # librdkafka's default hashes keys by CRC32: the same cascade would lie in two partitions.
        "partitioner": "murmur2_random",
        "message.max.bytes": largest_message_bytes(settings),
        # Errors only: its warnings are of what it tries again, and what is lost comes as a delivery report.
        "log_level": 3,
    }
    return Producer(config | extra)


def consumer(settings: Settings, group: str, topics: Sequence[str], **extra: object) -> Consumer:
    """Open a consumer of full topic names that starts at the beginning where its group knows no better.

    Parameters
    ----------
    settings
        Where the brokers are.
    group
        Consumer group, before the topic prefix is put to it.
    topics
        Full names, as `jobs.runtime.topics.topic_name` gives them.
    extra
        librdkafka settings, as ``**{"auto.offset.reset": "latest"}``; the later wins.

    """
    config: dict[str, object] = {
        **client_config(settings),
        "group.id": settings.kafka.topic_prefix + group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.message.max.bytes": largest_message_bytes(settings),
    }
    opened = Consumer(config | extra)
    opened.subscribe(list(topics))
    return opened


def _jaas_line(kafka: Kafka) -> str:
    module = _LOGIN_MODULES[kafka.sasl_mechanism]
    password = kafka.sasl_password.get_secret_value()
    return f"{module} required username={_quoted(kafka.sasl_username)} password={_quoted(password)};"


def _quoted(text: str) -> str:
    r"""Quote for Java's StreamTokenizer, by which Kafka reads JAAS: backslash, quote and controls escaped.

    >>> print(_quoted('a"b\\c\nd; e="f"'))
    "a\"b\\c\012d; e=\"f\""
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(f"\\{ord(c):03o}" if ord(c) < 32 else c for c in escaped) + '"'
