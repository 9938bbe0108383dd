"""What every missing piece of infrastructure has in common."""

from __future__ import annotations


class InfrastructureError(Exception):
    """Something a job needs is missing or does not answer; its text says what to do next."""
