"""Metrics of one service, served to Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily

from jobs.runtime.errors import InfrastructureError


class PortTakenError(InfrastructureError):
    """The address that a service should listen on cannot be had."""


def rejected_metric(name: str, meaning: str, rejected: Mapping[str, int]) -> CounterMetricFamily:
    """Return a counter of dead letters by reason; reasons are few and fixed."""
    metric = CounterMetricFamily(name, meaning, labels=["reason"])
    for reason, count in list(rejected.items()):
        metric.add_metric([reason], count)
    return metric


class MetricsServer:
    """An HTTP server in a thread, until closed.

    Raises ``PortTakenError`` when the address is in use or not this machine's.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int, knob: str) -> None:
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            reason = f"cannot listen on {host}:{port} ({error.strerror or error})"
            raise PortTakenError(f"{reason}: choose another {knob}, 0 for a free one") from None
        self.host = host
        self.port = int(self._server.server_port)

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://{self.host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
