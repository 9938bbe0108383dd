"""Kafka records as batch DataFrames, and rows of outgoing records back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

RECORDS = "key binary, value binary, topic string, partition int, offset long, timestamp timestamp"
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def records(spark, values, topic="topic"):
    """A DataFrame of Kafka records, a second apart, their values given as bytes or to be written as JSON."""
    rows = [
        (
            b"key",
            value if value is None or isinstance(value, bytes) else json.dumps(value).encode(),
            topic,
            0,
            offset,
            NOON + timedelta(seconds=offset),
        )
        for offset, value in enumerate(values)
    ]
    return spark.createDataFrame(rows, RECORDS)


def sent_to(rows, topic):
    """Keys and values of the outgoing rows for one topic."""
    return [(bytes(row["key"]), json.loads(row["value"])) for row in rows if row["topic"] == topic]
