"""The rules by which cascades open, are observed and end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """Times in seconds of event time; see the README, "What the collector does"."""

    windows_s: tuple[float, ...] = (600.0, 1200.0)
    """Observation windows, rising, none longer than ``terminated_s``."""
    terminated_s: float = 1800.0
    """Silence that ends a cascade."""
    min_cascade_size: int = 10
    """Events a window must hold for its partial to be sent."""
    allowed_delay_s: float = 10.0
    """Disorder that changes nothing: a partition's clock runs this much behind its latest event."""
    max_events_per_window: int = 100_000
    """Events of one cascade kept as history; more are counted only."""
    max_id_bytes: int = 512
    max_text_bytes: int = 1024
    max_value_bytes: int = 65_536
