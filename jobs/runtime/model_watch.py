"""The models in use: those last announced on the topic ``models`` that can be loaded."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from pydantic import ValidationError

from jobs.runtime.clients import client_config
from jobs.runtime.manifest import COLD_VERSION, Manifest
from jobs.runtime.registry import Registry
from jobs.runtime.settings import Settings
from jobs.runtime.topics import MODELS, partition_count, topic_name
from udfs.forest.errors import ModelError
from udfs.forest.window_model import WindowModel

log = logging.getLogger(__name__)

#: Longest wait for a message while catching up at the start.
CATCH_UP_TIMEOUT_S = 10.0


def registry_of(settings: Settings) -> Registry:
    """Return the registry of a deployment."""
    return Registry(settings.home / "models" / settings.kafka.topic_prefix, settings.learner.keep_versions)


@dataclass(frozen=True)
class ModelChoice:
    """One version per window, as a micro-batch uses it on every executor; small enough to send with it."""

    folder: Path
    versions: dict[int, str]

    def __call__(self, window_s: int) -> tuple[str, WindowModel]:
        """Return the version and the model for a window; the cold model where none was announced."""
        version = self.versions.get(window_s, COLD_VERSION)
        return version, Registry(self.folder).load(window_s, version)


class ModelWatch:
    """Reads announcements and keeps the last good version of each window."""

    def __init__(self, settings: Settings) -> None:
        self._registry = registry_of(settings)
        self._versions: dict[int, str] = {}
        topic = topic_name(settings, MODELS)
        config = {**client_config(settings), "group.id": "unused", "enable.auto.commit": False}
        self._consumer = Consumer(config)
        partitions = [
            TopicPartition(topic, i, OFFSET_BEGINNING) for i in range(partition_count(settings, MODELS))
        ]
        self._consumer.assign(partitions)
        ends = [self._consumer.get_watermark_offsets(p, CATCH_UP_TIMEOUT_S)[1] for p in partitions]
        self._behind = {p.partition: end for p, end in zip(partitions, ends, strict=True) if end > 0}

    def choice(self) -> ModelChoice:
        """Return the versions now in use, all announcements read."""
        while True:
            message = self._consumer.poll(CATCH_UP_TIMEOUT_S if self._behind else 0)
            if message is None:
                self._behind.clear()
                return ModelChoice(self._registry.folder, dict(self._versions))
            error = message.error()
            if error:
                log.warning("cannot read announcements of models", extra={"error": error.str()})
                continue
            partition, offset = message.partition() or 0, message.offset() or 0
            if offset + 1 >= self._behind.get(partition, 0):
                self._behind.pop(partition, None)
            self._adopt(message.value() or b"")

    def _adopt(self, announcement: bytes) -> None:
        try:
            manifest = Manifest.model_validate_json(announcement)
            self._registry.load(manifest.window_s, manifest.version)
        except (ValidationError, ModelError) as error:
            log.warning("an announced model is refused; the last good one serves on: %s", error)
            return
        self._versions[manifest.window_s] = manifest.version

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
