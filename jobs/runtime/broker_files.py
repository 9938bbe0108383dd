"""What the embedded broker is told: its server.properties and its command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.runtime.clients import largest_message_bytes
from jobs.runtime.jars import CONF, broker_jars
from jobs.runtime.java import find_java
from jobs.runtime.settings import Settings

#: Kafka's own bound of a request; larger only where a partial would not fit twice.
LEAST_REQUEST_BYTES = 100 << 20


@dataclass(frozen=True)
class BrokerFiles:
    """Where the files of one home's broker lie."""

    folder: Path

    @property
    def data(self) -> Path:
        """Folder of Kafka's log segments."""
        return self.folder / "data"

    @property
    def properties(self) -> Path:
        """The server.properties, written anew at each start; its path tells our JVM from others."""
        return self.folder / "server.properties"

    @property
    def state(self) -> Path:
        """JSON of the process and its ports, kept between runs."""
        return self.folder / "state.json"

    @property
    def log(self) -> Path:
        """Kafka's log, rolled by size."""
        return self.folder / "broker.log"

    @property
    def console(self) -> Path:
        """What the JVM itself prints, anew at each start."""
        return self.folder / "console.log"

    def disk_bytes(self) -> int:
        """Return the space taken on disk."""
        total = 0
        for base, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += Path(base, name).stat().st_blocks * 512
                except FileNotFoundError:
                    continue  # Kafka deletes segments meanwhile
        return total

    def last_lines(self, count: int = 15) -> str:
        """Return the end of both logs."""
        lines: list[str] = []
        for path in (self.log, self.console):
            if path.is_file():
                lines += path.read_text("utf-8", "replace").splitlines()[-count:]
        return "\n".join(lines)


def server_properties(settings: Settings, files: BrokerFiles, port: int, controller_port: int) -> str:
    """Return the configuration of a broker and controller in one process, for this machine only."""
    largest = largest_message_bytes(settings)
    values = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(files.data),
        "num.partitions": settings.kafka.partitions,
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        # One node holds the only copy of everything.
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # Few clients: 50 partitions each would only slow the start.
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.num.partitions": 4,
        "group.initial.rebalance.delay.ms": 0,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "message.max.bytes": largest,
        "replica.fetch.max.bytes": largest,
        "socket.request.max.bytes": max(LEAST_REQUEST_BYTES, 2 * largest),
        # For topics others make here; ours have their own bounds.
        "log.retention.hours": 24,
        "log.retention.bytes": 1 << 30,
        "log.segment.bytes": max(64 << 20, 2 * largest),
        "log.retention.check.interval.ms": 60_000,
        # The default, 128 MB, is a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": 16 << 20,
    }
    return properties_text({key: str(value) for key, value in values.items()})


def properties_text(values: Mapping[str, str]) -> str:
    r"""Write Java properties; beyond ASCII, and backslashes, by their escapes.

    >>> print(properties_text({"log.dirs": "/home/zoë/a\\b"}), end="")
    log.dirs=/home/zo\u00eb/a\\b
    """
    return "".join(f"{key}={_escaped(value)}\n" for key, value in values.items())


def kafka_command(settings: Settings, files: BrokerFiles) -> list[str]:
    """Return the command line that runs the broker."""
    options = [
        f"-Xmx{settings.broker.heap_mb}m",
        f"-Xms{min(128, settings.broker.heap_mb)}m",
        "-XX:+UseSerialGC",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={CONF / 'broker-log4j2.properties'}",
        f"-Dtweetoscope.broker.log={files.log}",
    ]
    return _java(settings, options, "kafka.Kafka", str(files.properties))


def format_command(settings: Settings, files: BrokerFiles, cluster_id: str) -> list[str]:
    """Return the command line that makes the data folder of a new cluster."""
    arguments = ["format", "--ignore-formatted", "-t", cluster_id, "-c", str(files.properties)]
    return _java(settings, ["-Xmx128m", "-XX:+UseSerialGC"], "kafka.tools.StorageTool", *arguments)


def _java(settings: Settings, options: list[str], main_class: str, *arguments: str) -> list[str]:
    class_path = os.pathsep.join(map(str, broker_jars(settings)))
    return [str(find_java()), *options, "-cp", class_path, main_class, *arguments]


def _escaped(value: str) -> str:
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)
