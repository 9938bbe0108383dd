"""Stopped after any micro-batch or put back to an earlier one, the collector sends what it would have."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from jobs.collect import start
from jobs.runtime.streams import checkpoint_of
from jobs.runtime.topics import CASCADE_PROPERTIES, CASCADE_SERIES, DEAD_LETTERS, TWEETS
from tests.conftest import own_topics
from tests.kafka.records import read, run_to_end, send, with_batches
from tests.kafka.test_collect import assert_equals_the_oracle, in_disorder

#: The log is read in so many micro-batches, the query stopped after each.
PIECES = 4
OUTPUTS = (CASCADE_SERIES, CASCADE_PROPERTIES, DEAD_LETTERS)


def log_in_pieces():
    """Records of cascades that open, are observed and end in several pieces; then ticks for all."""
    rng, events = np.random.default_rng(11), []
    for number in range(120):
        cid, root_s = f"é{number % 100}", float(rng.uniform(0, 9000))
        ages_s = np.sort(rng.exponential(500, rng.integers(5, 60)))
        events.append((cid, "tweet", root_s, 100.0, f'"{number}"\n'))
        events += [(cid, "retweet", root_s + age_s, float(rng.integers(9)), None) for age_s in ages_s]
    events.sort(key=lambda event: event[2])
    told = in_disorder(events, 9.9, 1)
    told += [(f"é{number}", "retweet", 20.0, 1.0, None) for number in range(5)]
    records = [
        (cid.encode(), json.dumps({"type": kind, "t": t, "m": m, "msg": text}).encode())
        for cid, kind, t, m, text in told
    ]
    ticks = [(None, b'{"type":"tick","t":99999}', partition) for partition in range(4)]
    size = -(-len(records) // PIECES)
    pieces = [records[i : i + size] for i in range(0, len(records), size)]
    return [*pieces[:-1], [*pieces[-1], *ticks]]


def sent(settings):
    """How often each record was sent, byte for byte."""
    return Counter(
        (topic.name, record.key(), record.value()) for topic in OUTPUTS for record in read(settings, topic)
    )


def shelves(spark):
    """The folders where this machine keeps buckets between micro-batches."""
    return list(Path(spark.conf.get("spark.local.dir")).glob("**/buckets"))


def empty_shelves(spark):
    """Remove what a restart of the machine would."""
    for folder in shelves(spark):
        for path in folder.iterdir():
            path.unlink()


@pytest.fixture(scope="module")
def stopped_after_each(spark, broker_settings, tmp_path_factory):
    """The collector stopped after each piece: settings, copies of its checkpoint, what it had sent."""
    home = tmp_path_factory.mktemp("restart") / "home"
    with own_topics(broker_settings, home) as own:
        settings = with_batches(own, 100_000)
        copies, so_far = [], []
        for number, piece in enumerate(log_in_pieces()):
            send(settings, TWEETS, piece)
            if number == 2:
                assert any(any(folder.glob("*.table")) for folder in shelves(spark)), "no bucket on the shelf"
                empty_shelves(spark)
            run_to_end(start(spark, settings))
            copies.append(home / f"copy{number}")
            shutil.copytree(checkpoint_of(settings, "collect"), copies[-1])
            so_far.append(sent(settings))
        yield settings, copies, so_far


def test_stopped_after_each_micro_batch_it_sends_each_result_once(stopped_after_each):
    settings, copies, so_far = stopped_after_each
    _, sizes, reasons = assert_equals_the_oracle(settings)
    assert len(sizes) > 100
    assert set(reasons) == {"orphan", "late", "repeated_root"}
    assert all(before < after for before, after in pairwise(so_far)), "every piece matters"
    commits = [sum(path.name.isdigit() for path in (copy / "commits").iterdir()) for copy in copies]
    assert commits == [1, 2, 3, 4]


@pytest.mark.parametrize("number", range(PIECES - 1))
def test_put_back_to_an_earlier_micro_batch_it_sends_the_rest_again(spark, stopped_after_each, number):
    """The rest comes in one micro-batch now, and what lies on the shelf is of a later state."""
    settings, copies, so_far = stopped_after_each
    before = sent(settings)
    checkpoint = Path(checkpoint_of(settings, "collect"))
    shutil.rmtree(checkpoint)
    shutil.copytree(copies[number], checkpoint)
    run_to_end(start(spark, settings))
    assert sent(settings) - before == so_far[-1] - so_far[number]


def test_a_new_start_from_nothing_sends_all_again(spark, stopped_after_each):
    settings, _, so_far = stopped_after_each
    before = sent(settings)
    shutil.rmtree(checkpoint_of(settings, "collect"))
    run_to_end(start(spark, with_batches(settings, 777)))
    assert sent(settings) - before == so_far[-1]
