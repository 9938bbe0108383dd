"""What a service writes of itself: key=value text or JSON lines on stderr, and the logs topic on request."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from jobs.runtime.clients import producer
from jobs.runtime.settings import Settings

#: Extras under these names could hold what people wrote: their values are never logged.
WRITTEN_BY_PEOPLE = frozenset({"text", "tweet", "value", "body"})
#: Records kept for a broker that does not answer; beyond, the newest are dropped.
MAX_WAITING_RECORDS = 10_000
#: Loggers that speak of every request; their warnings are enough.
CHATTY = ("py4j", "pyspark", "urllib3", "asyncio")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fields_of(record: logging.LogRecord, service: str) -> dict[str, Any]:
    """Return a record as one flat mapping: time, level, service, logger, message, extras, traceback."""
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "service": service,
        "logger": record.name,
        "message": record.getMessage(),
    }
    for name, value in vars(record).items():
        if name not in _STANDARD:
            fields[name] = "[hidden]" if name in WRITTEN_BY_PEOPLE else value
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; what JSON has no word for is written by ``str``."""
        return msgspec.json.encode(fields_of(record, self._service), enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """``time LEVEL logger: message key=value …`` on one line, a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        fields = fields_of(record, "")
        exception = fields.pop("exception", "")
        head = f"{fields.pop('time')} {fields.pop('level')} {fields.pop('logger')}: {fields.pop('message')}"
        del fields["service"]
        extras = "".join(f" {name}={_plain(value)}" for name, value in fields.items())
        return head.replace("\n", "\\n") + extras + (f"\n{exception}" if exception else "")


class KafkaHandler(logging.Handler):
    """Send records to the logs topic; a broker that does not answer stops nobody."""

    def __init__(self, settings: Settings, service: str, topic: str) -> None:
        super().__init__()
        self._service, self._topic = service, topic
        self._producer = producer(
            settings, **{"queue.buffering.max.messages": MAX_WAITING_RECORDS, "log_level": 0}
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record."""
        try:
            line = msgspec.json.encode(fields_of(record, self._service), enc_hook=str)
            self._producer.produce(self._topic, line, self._service.encode(), headers={"schema": b"1"})
            self._producer.poll(0)
        except BufferError:
            return
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Send what waits, for two seconds at most."""
        self._producer.flush(2)
        super().close()


def configure_logging(settings: Settings, service: str = "tweetoscope") -> None:
    """Make every logger write as the settings say.

    Calling it again replaces what it set up before: a job calls it first thing, and once more when
    the address of the embedded broker is known.
    """
    stderr = logging.StreamHandler(sys.stderr)
    stderr.setFormatter(JsonFormatter(service) if settings.logs.format == "json" else TextFormatter())
    handlers: list[logging.Handler] = [stderr]
    if settings.logs.to_kafka and settings.kafka.bootstrap_servers:
        from jobs.runtime.topics import LOGS, topic_name

        handlers.append(KafkaHandler(settings, service, topic_name(settings, LOGS)))
    logging.basicConfig(level=settings.logs.level, handlers=handlers, force=True)
    logging.captureWarnings(capture=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _plain(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return repr(text) if not text or any(c.isspace() or c in "\"'=" for c in text) else text
