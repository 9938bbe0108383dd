"""Predictions people are shown, as metrics and on a live board: the dashboard."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from rich.console import Console
from rich.live import Live

from jobs.runtime.board import BoardState, render, summary_line
from jobs.runtime.hottest import Hottest
from jobs.runtime.lifecycle import run_main, stop_on_signals
from jobs.runtime.messages import Alert, Stat
from jobs.runtime.rates import Rate
from jobs.runtime.reader import Reader
from jobs.runtime.scores import STAGES, Scores
from jobs.runtime.service import service
from jobs.runtime.serving import MetricsServer, rejected_metric
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.topics import ALERTS, STATS

log = logging.getLogger(__name__)

SERVICE = "dashboard"
#: Longest wait of one poll: what a stop may take, and the board's frame.
POLL_S = 0.25
#: Time between two lines where there is no terminal.
LINE_S = 5.0
#: Lines of the board that are no posts: frames, headings, errors.
LINES_BESIDE_POSTS = 18


class Dashboard(Collector):
    """Reads ``alerts``, serves the hottest posts' predictions, and shows the board.

    Parameters
    ----------
    settings
        With the brokers' address in them, and the topics made.
    scores
        The errors to show, which someone else fills; without them the dashboard reads ``stats`` itself.
    clock
        Seconds, for expiry and rates.
    notes
        Returns the lines that the caller wants above the board.

    """

    def __init__(
        self,
        settings: Settings,
        scores: Scores | None = None,
        clock: Callable[[], float] = time.monotonic,
        notes: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.hottest = Hottest(settings.alerts, clock)
        self.scores = scores or Scores(settings.cascades.windows_s)
        self._clock, self._notes, self._rate = clock, notes, Rate(clock=clock)
        self._threshold = settings.alerts.threshold
        self.popular = 0
        registry = CollectorRegistry()
        with ExitStack() as opened:
            self._alerts = Reader(settings, SERVICE, ALERTS, Alert)
            opened.callback(self._alerts.close)
            self._stats: Reader[Stat] | None = None
            if scores is None:
                # The monitor writes the dead letters of stats.
                self._stats = Reader(settings, f"{SERVICE}-stats", STATS, Stat, writes_letters=False)
                opened.callback(self._stats.close)
            registry.register(self)
            knobs = settings.serving
            self.server = MetricsServer(registry, knobs.host, knobs.dashboard_port, "serving.dashboard_port")
            opened.callback(self.server.close)
            self._opened = opened.pop_all()

    def poll_once(self, timeout_s: float = POLL_S) -> int:
        """Take what has come, waiting at most ``timeout_s``; return how many new predictions there were."""
        alerts = self._alerts.poll(timeout_s)
        self.popular += sum(map(self.hottest.add, alerts))
        if self._stats:
            for stat in self._stats.poll(0.0):
                self.scores.add(stat)
        return len(alerts)

    def run(self, stop: threading.Event, console: Console | None = None) -> None:
        """Poll and show until told to stop: a live board on a terminal, else a line now and then."""
        console = console or Console()
        if console.is_terminal:
            self._run_live(stop, console)
            return
        shown_s = self._clock()
        while not stop.is_set():
            self.poll_once()
            if self._clock() - shown_s >= LINE_S:
                shown_s = self._clock()
                line = "; ".join([*self._notes(), summary_line(self.state())])
                console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _run_live(self, stop: threading.Event, console: Console) -> None:
        with Live(console=console, auto_refresh=False, transient=False) as live:
            while not stop.is_set():
                self.poll_once()
                rows = max(3, console.height - LINES_BESIDE_POSTS)
                live.update(render(self.state(), rows), refresh=True)

    @property
    def predictions(self) -> int:
        """Predictions read so far, repeats not counted."""
        return self._alerts.values

    def lag(self) -> int:
        """Return how many records wait."""
        return self._alerts.lag() + (self._stats.lag() if self._stats else 0)

    def state(self) -> BoardState:
        """Return what the board shows now."""
        return BoardState(
            posts=self.hottest.top(),
            errors={
                (window_s, stage): self.scores.summary(window_s, stage)
                for window_s in self.scores.windows_s
                for stage in STAGES
            },
            alerts=self._alerts.values,
            alerts_per_s=self._rate.look(self._alerts.values),
            lag=self.lag(),
            repeats=self._alerts.repeats,
            dead_letters=sum(self._alerts.rejected.values()),
            notes=self._notes(),
        )

    def close(self) -> None:
        """Leave the groups and stop serving."""
        self._opened.close()

    def describe(self) -> list[Metric]:
        """Name no metric before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the hottest posts and the counts, at a scrape; what has expired is gone."""
        predicted = GaugeMetricFamily(
            "tweetoscope_predicted_popularity",
            "Predicted popularity of the hottest posts above the threshold.",
            labels=["cid", "window_s"],
        )
        for post in self.hottest.top():
            predicted.add_metric([post.alert.cid, f"{post.alert.window_s:.0f}"], post.alert.popularity)
        yield predicted
        yield GaugeMetricFamily(
            "tweetoscope_alert_threshold", "Predicted size that makes a post popular.", value=self._threshold
        )
        yield CounterMetricFamily("tweetoscope_predictions", "Predictions read.", value=self._alerts.values)
        yield CounterMetricFamily(
            "tweetoscope_popular", "Predictions above the threshold.", value=self.popular
        )
        yield CounterMetricFamily(
            "tweetoscope_alerts_repeated",
            "Predictions read more than once and dropped.",
            value=self._alerts.repeats,
        )
        yield rejected_metric(
            "tweetoscope_dashboard_dead_letters",
            "Predictions that could not be used.",
            self._alerts.rejected,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Show the hottest posts until told to stop."""
    settings = load_settings(argv, "tweetoscope dashboard")
    stop = stop_on_signals()
    with service(settings, SERVICE) as connection:
        dashboard = Dashboard(connection)
        log.info("serving", extra={"url": dashboard.server.url})
        try:
            dashboard.run(stop)
        finally:
            dashboard.close()
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
