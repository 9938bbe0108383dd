import base64
import json
import urllib.request
from itertools import count

import pytest
from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from jobs.monitor import Monitor
from jobs.runtime.clients import client_config, producer
from jobs.runtime.serving import PortTakenError
from jobs.runtime.topics import DEAD_LETTERS, STATS, topic_name


def stat_value(cid, error=0.5, window_s=600, **fields):
    value = {"type": "stat", "cid": cid, "T_obs": window_s, "ARE": error, "ARE_hawkes": 2.0, "ARE_kn": 0.25}
    return json.dumps(value | fields).encode()


def send(settings, topic, values):
    sender = producer(settings)
    for value in values:
        sender.produce(topic_name(settings, topic), value, b"key", 1)
    assert sender.flush(10) == 0


def free_ports(settings):
    serving = settings.serving.model_copy(update={"monitor_port": 0, "dashboard_port": 0})
    return settings.model_copy(update={"serving": serving})


def poll_until(service, done):
    for attempt in count():
        service.poll_once(0.1)
        if done():
            return
        assert attempt < 300, "nothing came within half a minute"


def scrape(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def read_letters(settings, wanted):
    reader = Consumer({**client_config(settings), "group.id": "unused", "auto.offset.reset": "earliest"})
    name = topic_name(settings, DEAD_LETTERS)
    reader.assign([TopicPartition(name, number, 0) for number in range(settings.kafka.partitions)])
    letters = []
    while len(letters) < wanted:
        batch = reader.consume(wanted, 10)
        assert batch, f"{len(letters)} of {wanted} letters within 10 s"
        letters += [json.loads(record.value()) for record in batch]
    reader.close()
    return letters


@pytest.fixture
def monitor(kafka_settings):
    opened = Monitor(free_ports(kafka_settings))
    yield opened
    opened.close()


def test_errors_are_served_by_window_and_stage(kafka_settings, monitor):
    send(kafka_settings, STATS, [stat_value("a", 0.5), stat_value("b", 0.25), stat_value("a", 1.5, 1200)])
    poll_until(monitor, lambda: monitor.scores.summary(1200, "model").count == 1)
    metrics = scrape(monitor.server.url)
    assert metrics["tweetoscope_relative_error_count", "600", "model"] == 2
    assert metrics["tweetoscope_relative_error_sum", "600", "model"] == 0.75
    assert metrics["tweetoscope_relative_error_bucket", "0.3", "600", "model"] == 1
    assert metrics["tweetoscope_relative_error_mean", "600", "model"] == 0.375
    assert metrics["tweetoscope_relative_error_mean", "1200", "model"] == 1.5
    assert metrics["tweetoscope_relative_error_mean", "600", "hawkes"] == 2.0
    assert metrics["tweetoscope_relative_error_mean", "600", "kn"] == 0.25


def test_a_repeat_counts_once(kafka_settings, monitor):
    again = [stat_value("a", 0.5, t_root=3.0)] * 3
    send(kafka_settings, STATS, [*again, stat_value("a", 0.5, 1200, t_root=3.0), stat_value("end")])
    poll_until(monitor, lambda: monitor.scores.summary(600, "model").count == 2)
    assert monitor.repeats == 2
    assert scrape(monitor.server.url)["tweetoscope_stats_repeated_total",] == 2


def test_bad_values_become_dead_letters_and_harm_no_neighbour(kafka_settings, monitor):
    bad = {
        b"{": "bad_json",
        b"\xff": "bad_json",
        b"[" * 100_000: "bad_field",
        stat_value("a").replace(b"0.5", b"NaN"): "bad_json",
        stat_value("a", -0.5): "bad_field",
        stat_value(""): "bad_field",
        stat_value("a", type="alert"): "bad_field",
    }
    good = [stat_value(f"good-{number}") for number in range(len(bad))]
    send(kafka_settings, STATS, [value for pair in zip(bad, good, strict=True) for value in pair])
    poll_until(monitor, lambda: monitor.scores.summary(600, "model").count == len(bad))
    letters = read_letters(kafka_settings, len(bad))
    by_place = {letter["offset"]: letter for letter in letters}
    for number, (value, reason) in enumerate(bad.items()):
        letter = by_place[2 * number]
        assert letter["reason"] == reason
        assert value.startswith(base64.b64decode(letter["value"]))
        assert (letter["cid"], letter["partition"]) == ("key", 1)
    assert sum(monitor.rejected.values()) == len(bad)
    assert scrape(monitor.server.url)["tweetoscope_monitor_dead_letters_total", "bad_json"] == 3


def test_a_window_that_is_not_configured_is_counted_and_makes_no_label(kafka_settings, monitor):
    send(kafka_settings, STATS, [stat_value("a", 0.5, 77), stat_value("a")])
    poll_until(monitor, lambda: monitor.scores.summary(600, "model").count == 1)
    metrics = scrape(monitor.server.url)
    assert metrics["tweetoscope_stats_foreign_total",] == 1
    assert not [labels for labels in metrics if "77" in labels]


def test_a_monitor_goes_on_where_the_last_one_stopped(kafka_settings):
    settings = free_ports(kafka_settings)
    first = Monitor(settings)
    send(settings, STATS, [stat_value("a"), stat_value("b")])
    poll_until(first, lambda: first.scores.summary(600, "model").count == 2)
    first.close()
    send(settings, STATS, [stat_value("c", 0.125)])
    second = Monitor(settings)
    poll_until(second, lambda: second.scores.summary(600, "model").count)
    assert second.scores.summary(600, "model").mean == 0.125
    assert second.lag() == 0
    second.close()


def test_a_taken_port_is_one_clear_error(kafka_settings, monitor):
    serving = kafka_settings.serving.model_copy(update={"monitor_port": monitor.server.port})
    with pytest.raises(PortTakenError, match=r"choose another serving\.monitor_port"):
        Monitor(kafka_settings.model_copy(update={"serving": serving}))
