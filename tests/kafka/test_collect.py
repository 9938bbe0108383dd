"""The collector on real Kafka and Spark, against an independent reading of its rules on the same log."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from jobs.collect import rules_of, start
from jobs.generate import generate, load_cascades
from jobs.runtime.knobs import Generator
from jobs.runtime.streams import checkpoint_of
from jobs.runtime.topics import CASCADE_PROPERTIES, CASCADE_SERIES, DEAD_LETTERS, TWEETS
from tests.kafka.records import observed, read, run_to_end, running, send, with_batches
from tests.oracle import replay

REAL = Path(__file__).resolve().parents[2] / "../shared/data/tideh_seismic100.events.csv.gz"
#: Ids that something on the way could mangle; "-i" is put to each but the longest.
AWKWARD = ["plain", "é😀\u202ex", "\"quoted\" \\ 'back'", "new\nline\ttab", "\x00nul", "{}", ""]
LONGEST = ["é" * 256, "x" * 512]


def log_of_tweets(settings):
    """What the tweets topic holds, by partition, as the oracle takes it."""
    logs = defaultdict(list)
    for record in read(settings, TWEETS):
        value = json.loads(record.value())
        cid = record.key().decode() if value["type"] != "tick" else None
        logs[record.partition()].append(
            (record.offset(), cid, value["type"], value["t"], value.get("m", 0.0), value.get("msg"))
        )
    return logs


def expected_of(settings):
    """What the oracle makes of each partition, joined; letters with their partition."""
    partials, sizes, letters, events, counted = {}, {}, [], 0, 0
    for partition, log in log_of_tweets(settings).items():
        outcome = replay(log, rules_of(settings))
        assert (outcome.waiting, outcome.open) == (0, 0), "the closing tick ends everything"
        partials |= outcome.partials
        sizes |= outcome.sizes
        letters += [(partition, offset, reason) for reason, offset in outcome.letters]
        events += sum(kind != "tick" for _, _, kind, *_ in log)
        counted += outcome.counted
    assert counted + len(letters) == events
    return partials, sizes, sorted(letters), counted


def found_in(settings):
    """Partials, sizes and letters in the output topics: lists, so that a repeat shows."""
    partials, sizes = [], []
    for record in read(settings, CASCADE_SERIES):
        value = json.loads(record.value())
        assert (value.pop("type"), record.key().decode()) == ("serie", value["cid"])
        partials.append(((value.pop("cid"), value.pop("T_obs"), value.pop("t_root")), value))
    for record in read(settings, CASCADE_PROPERTIES):
        value = json.loads(record.value())
        assert (value["type"], record.key().decode()) == ("size", value["cid"])
        sizes.append(((value["cid"], value["T_obs"], value["t_root"]), (value["n_tot"], value["t_end"])))
    letters = [json.loads(record.value()) for record in read(settings, DEAD_LETTERS)]
    return partials, sizes, sorted((x["partition"], x["offset"], x["reason"]) for x in letters)


def assert_equals_the_oracle(settings, counts=None):
    """Compare everything; return the oracle's partials and sizes and the letters' reasons."""
    partials, sizes, letters, counted = expected_of(settings)
    found_partials, found_sizes, found_letters = found_in(settings)
    assert found_letters == letters
    assert (len(found_partials), len(found_sizes)) == (len(partials), len(sizes)), "each is sent once"
    assert dict(found_partials) == partials
    assert dict(found_sizes) == sizes
    if counts is not None:
        assert (counts["counted"], counts["letters"]) == (counted, len(letters))
        assert (counts["partials"], counts["sizes"]) == (len(partials), len(sizes))
        assert counts["waiting"] == 0
    return partials, sizes, Counter(reason for _, _, reason in letters)


def burst(cid, root_s, count, every_s=1.1, text=None):
    """A root and retweets at regular steps, ``count`` events in all."""
    events = [(cid, "tweet", root_s, 1000.0, text)]
    return events + [(cid, "retweet", root_s + i * every_s, 0.1 * i, None) for i in range(1, count)]


def ids(name):
    """Ids of one chapter of the story, enough to lie in every partition."""
    return [f"{awkward}-{name}-{i}" for awkward in AWKWARD for i in range(2)]


def in_disorder(events, delay_s, seed):
    """Events as they may arrive when none is delayed by more than ``delay_s``."""
    arrival = [event[2] for event in events] + np.random.default_rng(seed).uniform(0, delay_s, len(events))
    return [events[i] for i in np.argsort(arrival, kind="stable")]


def story():
    """Events (id, type, t, m, text) in order of arrival; one without id is a tick, for all partitions."""
    told = []

    def chapter(number, name, make):
        base_s = 20_000.0 * number
        told.extend(event for cid in ids(name) for event in make(cid, base_s))
        told.append((None, "tick", base_s + 10_000.0, None, None))

    # Every cascade of a chapter starts at its base, so all but the first arrive late unless sorted by time.
    def together(number, name, make, *, delay_s=0.0):
        base_s = 20_000.0 * number
        events = sorted((e for cid in ids(name) for e in make(cid, base_s)), key=lambda event: event[2])
        told.extend(in_disorder(events, delay_s, number) if delay_s else events)
        told.append((None, "tick", base_s + 10_000.0, None, None))

    together(0, "disorder", lambda cid, t: burst(cid, t + 0.25, 40, 31.7, 'a "text"\n😀'), delay_s=9.9)
    together(1, "tie", lambda cid, t: [*burst(cid, t, 10), (cid, "retweet", t + 600, 2.0, None),
                                       (cid, "retweet", t + 1200, 3.0, None)])  # fmt: skip
    together(2, "gap", lambda cid, t: [*burst(cid, t, 12, 1.0), (cid, "retweet", t + 1811, 1.0, None)])
    together(3, "nearly", lambda cid, t: [*burst(cid, t, 12, 1.0), (cid, "retweet", t + 1810.5, 1.0, None)])
    together(4, "orphan", lambda cid, t: [(cid, "retweet", t, 1.0, None)])
    together(5, "nine", lambda cid, t: burst(cid, t, 9))
    together(6, "again", lambda cid, t: [*burst(cid, t, 11), (cid, "tweet", t + 20, 1.0, None)])
    together(7, "orphan", lambda cid, t: burst(cid, t, 13))
    for cid in LONGEST:
        told.extend(burst(cid, 180_000.0, 15, 0.0))
    chapter(10, "late", lambda cid, t: burst(cid, t, 12, 0.01))
    start_s = 220_000.0
    told += [event for cid in ids("slow") for event in burst(cid, start_s, 12, 0.01)]
    told.append((None, "tick", start_s + 700, None, None))
    told += [(cid, "retweet", start_s + 30, 5.0, None) for cid in ids("slow")]
    told.append((None, "tick", start_s + 4000, None, None))
    told += [(cid, kind, start_s + 31, 5.0, None) for cid in ids("slow") for kind in ("retweet", "tweet")]
    told.append((None, "tick", start_s + 10_000.0, None, None))
    return told


def send_story(settings, told):
    records = []
    for cid, kind, t, m, text in told:
        if cid is None:
            tick = json.dumps({"type": "tick", "t": t}).encode()
            records += [(None, tick, partition) for partition in range(settings.kafka.partitions)]
        else:
            value = {"type": kind, "msg": text, "t": t, "m": m, "source": "s", "info": f"cascade={cid}"}
            records.append((cid.encode(), json.dumps(value, ensure_ascii="é" in cid).encode()))
    send(settings, TWEETS, records)


def test_every_rule_holds_across_micro_batches(spark, kafka_settings):
    settings = with_batches(kafka_settings, 400)
    send_story(settings, story())
    [counts] = run_to_end(start(spark, settings))
    partials, sizes, reasons = assert_equals_the_oracle(settings, counts)
    n = len(ids(""))
    # What the story is about did happen: both sides could be wrong alike.
    assert {partials[cid, 600, 20_000]["n_obs"] for cid in ids("tie")} == {10}
    assert {partials[cid, 1200, 20_000]["n_obs"] for cid in ids("tie")} == {11}
    assert {sizes[cid, 600, 40_000][0] for cid in ids("gap")} == {12}
    assert {sizes[cid, 600, 60_000][0] for cid in ids("nearly")} == {13}
    assert not [place for place in partials if "-nine-" in place[0]]
    assert {sizes[cid, 1200, 220_000][0] for cid in ids("slow")} == {13}
    assert {partials[cid, 600, 220_000]["n_obs"] for cid in ids("slow")} == {12}
    assert all((cid, 600, 180_000) in partials for cid in LONGEST)
    assert reasons == {"orphan": 2 * n, "late": 2 * n, "repeated_root": n}


def with_generator(settings, **knobs):
    return settings.model_copy(update={"generator": Generator(acceleration=0, **knobs)})


def test_simulated_cascades_give_every_partial_and_size(spark, kafka_settings):
    settings = with_generator(with_batches(kafka_settings, 8000), cascades=150, horizon_s=86_400)
    report = generate(settings, load_cascades(settings, []), threading.Event())
    [counts] = run_to_end(start(spark, settings))
    partials, sizes, reasons = assert_equals_the_oracle(settings, counts)
    assert counts["counted"] + counts["letters"] == report.events
    # Three fourths have their ten events within 600 s; retweets after 1800 s of silence are the only letters.
    assert len(partials) == len(sizes) > 200
    assert set(reasons) <= {"orphan"}


def forget_the_last_commit(checkpoint):
    """Leave a checkpoint as a crash does between a micro-batch's output and its commit."""
    last = max(int(path.name) for path in (checkpoint / "commits").iterdir() if path.name.isdigit())
    planned_later = {path for path in (checkpoint / "offsets").iterdir() if path.name.isdigit()}
    planned_later = {path for path in planned_later if int(path.name) > last}
    for path in {checkpoint / "commits" / str(last), *planned_later}:
        path.unlink()
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)


def test_a_crash_before_the_commit_only_repeats_what_was_sent(spark, kafka_settings):
    settings = with_generator(with_batches(kafka_settings, 3000), cascades=80, horizon_s=21_600)
    generate(settings, load_cascades(settings, []), threading.Event())
    with running(start(spark, settings)) as [query]:
        while not observed(query).get("partials"):
            query.awaitTermination(0.1)
    forget_the_last_commit(Path(checkpoint_of(settings, "collect")))
    run_to_end(start(spark, settings))
    partials, sizes, letters, _ = expected_of(settings)
    found_partials, found_sizes, found_letters = found_in(settings)
    assert len(found_partials) > len(partials), "nothing was repeated: this run tests nothing"
    assert dict(found_partials) == partials
    assert all(value == partials[place] for place, value in found_partials)
    assert set(found_sizes) == set(sizes.items())
    assert set(found_letters) == set(letters)


def test_real_cascades_give_every_partial_and_size(spark, kafka_settings):
    if not REAL.exists():
        pytest.skip(f"needs the real cascades {REAL.name}")
    settings = with_generator(with_batches(kafka_settings, 120_000))
    report = generate(settings, load_cascades(settings, [REAL]), threading.Event())
    assert report.events == 395_087
    [counts] = run_to_end(start(spark, settings))
    partials, sizes, _ = assert_equals_the_oracle(settings, counts)
    assert counts["counted"] + counts["letters"] == 395_087
    assert len(partials) == len(sizes) > 150


def test_a_partial_larger_than_a_default_request_is_sent(spark, kafka_settings):
    settings = with_batches(kafka_settings, 100_000)
    told = burst("large", 1.1, 60_000, 0.0097)
    send_story(settings, [*told, (None, "tick", 10_000.0, None, None)])
    [counts] = run_to_end(start(spark, settings))
    assert_equals_the_oracle(settings, counts)
    assert max(len(record.value()) for record in read(settings, CASCADE_SERIES)) > 1_100_000
