import json

from jobs.runtime.knobs import Generator
from jobs.runtime.schedule import plan
from jobs.runtime.settings import Settings
from jobs.runtime.tweets import Tweets, closing_tick
from tests.unit.runtime.builders import cascades_of


def test_values_are_what_the_collector_reads():
    settings = Settings(generator=Generator(sources=1, concurrent=1, start_range_s=0))
    cascades = cascades_of([0, 1.5], marks=[[10, 0]], ids=['é"\n\u2028😀'], texts=["hi\n\\"])
    records = list(Tweets(cascades, plan(cascades, settings.generator), settings).records(0, 2))
    assert [key for key, _ in records] == ['é"\n\u2028😀'.encode()] * 2
    common = {"source": "source-1", "info": 'cascade=é"\n\u2028😀'}
    assert [json.loads(value) for _, value in records] == [
        {"type": "tweet", "msg": "hi\n\\", "t": 0.0, "m": 10.0, **common},
        {"type": "retweet", "msg": None, "t": 1.5, "m": 0.0, **common},
    ]


def test_batches_join_to_the_whole():
    settings = Settings()
    cascades = cascades_of([0, 1, 700], [0, 5], [0])
    tweets = Tweets(cascades, plan(cascades, settings.generator), settings)
    parts = [record for start in range(0, 6, 2) for record in tweets.records(start, start + 2)]
    assert parts == list(tweets.records(0, 6))


def test_closing_tick_passes_every_deadline():
    settings = Settings()
    knobs = settings.cascades
    tick = json.loads(closing_tick(50.0, settings))
    clock_s = tick["t"] - knobs.allowed_delay_s
    assert tick["type"] == "tick"
    assert clock_s >= 50.0 + knobs.terminated_s
    assert clock_s >= 50.0 + max(knobs.windows_s)
