"""``spark.chained``: one query sends what three send, byte for byte."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from jobs import collect, estimate, predict
from jobs.generate import generate, load_cascades
from jobs.runtime.knobs import Generator
from jobs.runtime.model_watch import ModelWatch
from jobs.runtime.settings import SettingsRefusedError
from jobs.runtime.topics import ALERTS, CASCADE_PROPERTIES, CASCADE_SERIES, DEAD_LETTERS
from tests.conftest import own_topics
from tests.kafka.records import read, run_to_end, running, send, with_batches

SENT = (CASCADE_SERIES, CASCADE_PROPERTIES, ALERTS, DEAD_LETTERS)


class Asked(ModelWatch):
    """Counts how often it is asked for the models in use."""

    times = 0

    def choice(self):
        self.times += 1
        return super().choice()


def sent_by(spark, settings):
    """Run the jobs over simulated tweets and one that is none; return what they sent, counted, and asked."""
    generate(settings, load_cascades(settings, []), threading.Event())
    send(settings, collect.TWEETS, [(b"bad", b"no JSON")])
    with closing(Asked(settings)) as models:
        [counted] = run_to_end(collect.start(spark, settings, models))
        if not settings.spark.chained:
            run_to_end(estimate.start(spark, settings))
            with running(predict.start(spark, settings, models)) as (first, _):
                first.processAllAvailable()
        asked = models.times
    records = {topic.name: sorted((r.key(), r.value()) for r in read(settings, topic)) for topic in SENT}
    return records, counted, asked


@pytest.fixture(scope="module")
def runs(spark, broker_settings, tmp_path_factory):
    """What is sent with topics between, and chained."""
    found = []
    for chained in (False, True):
        with own_topics(broker_settings, tmp_path_factory.mktemp("chained") / "home") as own:
            settings = with_batches(own, 2_000)
            knobs = Generator(acceleration=0, cascades=60, horizon_s=21_600, seed=3)
            jobs = settings.spark.model_copy(update={"chained": chained})
            found.append(sent_by(spark, settings.model_copy(update={"generator": knobs, "spark": jobs})))
    return found


@pytest.mark.parametrize("topic", [topic.name for topic in SENT[:3]])
def test_each_topic_gets_the_same_records(runs, topic):
    (apart, _, _), (chained, _, _) = runs
    assert len(apart[topic]) > 50
    assert chained[topic] == apart[topic]


def test_what_is_no_tweet_becomes_a_letter_in_both(runs):
    for records, _, _ in runs:
        [(key, value)] = [(k, v) for k, v in records[DEAD_LETTERS.name] if b"bad_json" in v]
        assert key == b"bad"
        assert b'"topic"' in value


def test_the_collector_counts_the_same(runs):
    (_, apart, _), (_, chained, _) = runs
    assert apart["partials"] > 50
    assert {k: v for k, v in chained.items() if k != "memory_bytes"} == {
        k: v for k, v in apart.items() if k != "memory_bytes"
    }


def test_the_models_in_use_are_asked_for_with_each_micro_batch(runs):
    _, (records, _, asked) = runs
    assert records[ALERTS.name]
    assert asked > 2


def test_the_estimator_refuses_to_do_nothing():
    with pytest.raises(SettingsRefusedError, match="collect estimates"):
        estimate.main(["--spark.chained", "true"])


def test_chained_needs_models(spark, kafka_settings):
    jobs = kafka_settings.spark.model_copy(update={"chained": True})
    with pytest.raises(ValueError, match="no models"):
        collect.start(spark, kafka_settings.model_copy(update={"spark": jobs}))
