"""What every service does first: log, find its broker, make sure of its topics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jobs.runtime.broker import connected
from jobs.runtime.logs import configure_logging
from jobs.runtime.settings import Settings
from jobs.runtime.topics import ensure_topics


@contextmanager
def service(settings: Settings, name: str) -> Iterator[Settings]:
    """Yield the settings with the brokers' address in them, topics made, records logged under ``name``."""
    configure_logging(settings, name)
    with connected(settings) as connection:
        # Once more: only now has the logs topic an address.
        configure_logging(connection, name)
        ensure_topics(connection)
        yield connection
