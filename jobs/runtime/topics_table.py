"""`tweetoscope topics`: create what is missing and show all topics."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
from confluent_kafka.admin import ConfigResource, ResourceType

from jobs.runtime.broker import connected
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.topics import (
    DAY_MS,
    MIB,
    REQUEST_TIMEOUT_S,
    TOPICS,
    admin_client,
    ensure_topics,
    partitions_by_topic,
    topic_name,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Create the missing topics and show all of them, as the brokers have them."""
    parser = argparse.ArgumentParser(
        "tweetoscope topics", description=main.__doc__, epilog="Every setting is a flag as well."
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options, flags = parser.parse_known_args(argv)
    with connected(load_settings(flags, parser.prog)) as settings:
        created = ensure_topics(settings)
        rows = [row | {"created": row["topic"] in created} for row in describe(settings)]
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(rows)).decode() + "\n")
    else:
        _print_table(rows)
    return 0


def describe(settings: Settings) -> list[dict[str, Any]]:
    """Return one row a topic, as the brokers have it."""
    admin = admin_client(settings)
    known = partitions_by_topic(admin, settings)
    resources = [ConfigResource(ResourceType.TOPIC, topic_name(settings, topic)) for topic in TOPICS]
    configs = {
        resource.name: future.result(timeout=REQUEST_TIMEOUT_S)
        for resource, future in admin.describe_configs(resources).items()
    }
    rows: list[dict[str, Any]] = []
    for topic in TOPICS:
        name = topic_name(settings, topic)
        values = {key: entry.value for key, entry in configs[name].items()}
        rows.append(
            {
                "topic": name,
                "partitions": known[name],
                "cleanup": values["cleanup.policy"],
                "retention_ms": int(values["retention.ms"]),
                "retention_bytes": int(values["retention.bytes"]),
                "max_message_bytes": int(values["max.message.bytes"]),
                "holds": topic.holds,
            }
        )
    return rows


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    lines = [("topic", "partitions", "kept for", "kept of each", "largest", "", "holds")]
    for row in rows:
        days, kept = row["retention_ms"] / DAY_MS, row["retention_bytes"] / MIB
        lines.append(
            (
                row["topic"],
                str(row["partitions"]),
                f"{days:g} days" if days >= 0 else "for ever",
                f"{kept:.0f} MiB" if kept >= 0 else "newest of a key",
                f"{row['max_message_bytes'] / MIB:.1f} MiB",
                "new" if row["created"] else "",
                row["holds"],
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
