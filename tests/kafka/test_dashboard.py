import io
import json
import threading

import pytest
from rich.console import Console

from jobs.dashboard import LINE_S, Dashboard
from jobs.runtime.scores import Scores
from jobs.runtime.topics import ALERTS, STATS
from tests.kafka.test_monitor import free_ports, poll_until, read_letters, scrape, send, stat_value


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def alert_value(cid, popularity=500.0, window_s=600, **fields):
    value = {"type": "alert", "cid": cid, "msg": None, "T_obs": window_s, "n_tot": popularity - 100}
    value |= {"n_tot_median": popularity, "n_obs": 40, "interval": [1, 2], "model_version": "v1", "X": {}}
    return json.dumps(value | fields).encode()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def dashboard(kafka_settings, clock):
    opened = Dashboard(free_ports(kafka_settings), clock=clock)
    yield opened
    opened.close()


def shown(dashboard):
    metrics = scrape(dashboard.server.url)
    return {
        labels[1:]: value
        for labels, value in metrics.items()
        if labels[0] == "tweetoscope_predicted_popularity"
    }


def test_only_popular_posts_have_a_label_until_they_expire(kafka_settings, dashboard, clock):
    cid = 'é"\\\n😀'
    send(
        kafka_settings,
        ALERTS,
        [alert_value("small", 200), alert_value(cid, 900), alert_value("b", 300, 1200)],
    )
    poll_until(dashboard, lambda: dashboard.state().alerts == 3)
    assert shown(dashboard) == {tuple(sorted((cid, "600"))): 900, ("1200", "b"): 300}
    assert [post.alert.cid for post in dashboard.hottest.top()] == [cid, "b"]
    clock.now_s = kafka_settings.alerts.expire_s
    assert shown(dashboard) == {}


def test_labels_are_bounded(kafka_settings, dashboard):
    send(kafka_settings, ALERTS, [alert_value(f"c{number}", 201 + number) for number in range(2000)])
    poll_until(dashboard, lambda: dashboard.state().alerts == 2000)
    assert sorted(shown(dashboard).values()) == [2201.0 - number for number in range(20, 0, -1)]


def test_repeats_and_bad_predictions_are_counted(kafka_settings, dashboard):
    values = [alert_value("a"), alert_value("a"), b"null", alert_value("b", -5), alert_value("c")]
    send(kafka_settings, ALERTS, values)
    poll_until(dashboard, lambda: dashboard.state().alerts == 2)
    state = dashboard.state()
    assert (state.repeats, state.dead_letters, state.lag) == (1, 2, 0)
    assert {letter["reason"] for letter in read_letters(kafka_settings, 2)} == {"bad_field"}
    metrics = scrape(dashboard.server.url)
    assert metrics["tweetoscope_predictions_total",] == 2
    assert metrics["tweetoscope_popular_total",] == 2
    assert metrics["tweetoscope_dashboard_dead_letters_total", "bad_field"] == 2


def test_alone_it_reads_the_errors_itself(kafka_settings, dashboard):
    send(kafka_settings, STATS, [stat_value("a", 0.125), b"{"])
    poll_until(dashboard, lambda: dashboard.scores.summary(600, "model").count == 1)
    assert dashboard.state().errors[600, "model"].mean == 0.125


def test_with_scores_given_it_shows_those(kafka_settings):
    scores = Scores([600])
    dashboard = Dashboard(free_ports(kafka_settings), scores)
    send(kafka_settings, STATS, [stat_value("a")])
    send(kafka_settings, ALERTS, [alert_value("a")])
    poll_until(dashboard, lambda: dashboard.state().alerts == 1)
    assert scores.summary(600, "model").count == 0
    assert list(dashboard.state().errors) == [(600, stage) for stage in ("model", "hawkes", "kn")]
    dashboard.close()


class StopAfter(threading.Event):
    """Told to stop after so many looks; the clock runs meanwhile."""

    def __init__(self, looks, clock):
        super().__init__()
        self.looks, self.clock = looks, clock

    def is_set(self):
        self.looks -= 1
        self.clock.now_s += LINE_S / 2
        return self.looks < 0


def test_without_a_terminal_it_prints_a_line_now_and_then(kafka_settings, dashboard, clock):
    output = io.StringIO()
    dashboard.run(StopAfter(6, clock), Console(file=output))
    lines = output.getvalue().splitlines()
    assert len(lines) == 3
    assert all(line.startswith("0 predictions") for line in lines)
    assert "\x1b" not in output.getvalue()


def test_on_a_terminal_it_draws_the_board(kafka_settings, dashboard, clock):
    send(kafka_settings, ALERTS, [alert_value("hot-post", 900)])
    poll_until(dashboard, lambda: dashboard.state().alerts == 1)
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=110, height=40)
    dashboard.run(StopAfter(3, clock), console)
    assert "hot-post" in output.getvalue()
