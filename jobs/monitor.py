"""Errors of the predictions, as metrics: the monitor."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from jobs.runtime.lifecycle import run_main, stop_on_signals
from jobs.runtime.messages import Stat
from jobs.runtime.reader import Reader
from jobs.runtime.scores import STAGES, Scores, errors_of
from jobs.runtime.service import service
from jobs.runtime.serving import MetricsServer, rejected_metric
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.topics import STATS

log = logging.getLogger(__name__)

SERVICE = "monitor"
#: Buckets of the relative error; 0.2 is the usual mark of a good prediction, above 10 it is an explosion.
BUCKETS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
#: Longest wait of one poll: what a stop may take.
POLL_S = 0.5


class Monitor(Collector):
    """Reads ``stats`` and serves the errors by window and stage; `poll_once` until done, then `close`.

    Parameters
    ----------
    settings
        With the brokers' address in them, and the topics made.
    scores
        Where the errors go; its own by default.

    """

    def __init__(self, settings: Settings, scores: Scores | None = None) -> None:
        self.scores = scores or Scores(settings.cascades.windows_s)
        self.foreign = 0
        registry = CollectorRegistry()
        self._errors = Histogram(
            "tweetoscope_relative_error",
            "Relative error |predicted - popularity| / popularity, once the popularity is known.",
            ["window_s", "stage"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._reader = Reader(settings, SERVICE, STATS, Stat)
        registry.register(self)
        try:
            knobs = settings.serving
            self.server = MetricsServer(registry, knobs.host, knobs.monitor_port, "serving.monitor_port")
        except BaseException:
            self._reader.close()
            raise

    def poll_once(self, timeout_s: float = POLL_S) -> int:
        """Take what has come, waiting at most ``timeout_s``; return how many new stats there were."""
        stats = self._reader.poll(timeout_s)
        for stat in stats:
            if not self.scores.add(stat):
                self.foreign += 1
                continue
            for stage, error in errors_of(stat).items():
                self._errors.labels(int(stat.window_s), stage).observe(error)
        return len(stats)

    def run(self, stop: threading.Event) -> None:
        """Poll until told to stop."""
        while not stop.is_set():
            self.poll_once()

    def close(self) -> None:
        """Leave the group and stop serving."""
        self._reader.close()
        self.server.close()

    @property
    def repeats(self) -> int:
        """Stats that had been read before."""
        return self._reader.repeats

    @property
    def rejected(self) -> dict[str, int]:
        """Values that became dead letters, by reason."""
        return dict(self._reader.rejected)

    def lag(self) -> int:
        """Return how many stats wait."""
        return self._reader.lag()

    def describe(self) -> list[Metric]:
        """Name no metric before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield what is counted elsewhere, at a scrape."""
        mean = GaugeMetricFamily(
            "tweetoscope_relative_error_mean",
            "Mean relative error since the monitor started.",
            labels=["window_s", "stage"],
        )
        for window_s in self.scores.windows_s:
            for stage in STAGES:
                summary = self.scores.summary(window_s, stage)
                if summary.count:
                    mean.add_metric([str(window_s), stage], summary.mean)
        yield mean
        yield CounterMetricFamily(
            "tweetoscope_stats_repeated", "Stats read more than once and dropped.", value=self.repeats
        )
        yield CounterMetricFamily(
            "tweetoscope_stats_foreign", "Stats of windows that are not configured.", value=self.foreign
        )
        yield rejected_metric(
            "tweetoscope_monitor_dead_letters", "Stats that could not be used.", self.rejected
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the errors until told to stop."""
    settings = load_settings(argv, "tweetoscope monitor")
    stop = stop_on_signals()
    with service(settings, SERVICE) as connection:
        monitor = Monitor(connection)
        log.info("serving", extra={"url": monitor.server.url})
        try:
            monitor.run(stop)
        finally:
            monitor.close()
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
