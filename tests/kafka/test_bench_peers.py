"""The benchmark's plain consumer, run as the benchmark does, against an independent reading of the rules."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from jobs.runtime.topics import TWEETS, topic_name
from tests.kafka.records import read, send
from tests.oracle import replay
from udfs.cascades.rules import Rules

PROJECT = Path(__file__).resolve().parents[2]
CASCADES = 300


def cascades(rng):
    """Events (t, cid, type, m, text) in order of time: sizes around ten, orphans, ids that return, ties."""
    events = []
    for number, start_s in enumerate(rng.uniform(0, 4000, CASCADES)):
        size = int(rng.integers(1, 40))
        gaps_s = np.concatenate([[0.0], rng.exponential(rng.choice([5.0, 60.0, 300.0]), size - 1)])
        times_s = np.round(start_s + np.cumsum(gaps_s), 1 if number % 3 else 3)
        cid = f"1698{number:015d}"
        text = None if number % 7 == 0 else f'text "{number}" é'
        events += [
            (t, cid, "retweet" if i else "tweet", i + 0.5, text) for i, t in enumerate(times_s.tolist())
        ]
        if number % 5 == 0:
            # Windows that close at an event's own time, and a retweet of what has ended.
            at_s = [times_s[0] + 600, times_s[0] + 1200, times_s[-1] + 4000]
            events += [(round(t, 3), cid, "retweet", 1.0, None) for t in at_s]
            events.append((round(times_s[-1] + 4001, 3), cid, "tweet", 2.0, "again"))
        if number % 11 == 0:
            events.append((times_s[0] + 1, cid, "tweet", 3.0, "a second root"))
            events.append((times_s[0], f"unknown-{number}", "retweet", 3.0, None))
    return sorted(events, key=lambda event: event[0])


def send_all(settings, events):
    last_s = events[-1][0]
    records = [
        (cid.encode(), json.dumps({"type": kind, "msg": text, "t": t, "m": m, "source": "s"}).encode())
        for t, cid, kind, m, text in events
    ]
    tick = json.dumps({"type": "tick", "t": last_s + 10_000}).encode()
    records += [(None, tick, partition) for partition in range(settings.kafka.partitions)]
    send(settings, TWEETS, records)
    return len(records)


def expected_of(settings):
    logs = defaultdict(list)
    for record in read(settings, TWEETS):
        value = json.loads(record.value())
        cid = record.key().decode() if value["type"] != "tick" else None
        event = (record.offset(), cid, value["type"], value["t"], value.get("m", 0.0), value.get("msg"))
        logs[record.partition()].append(event)
    partials, sizes, reasons = {}, {}, Counter()
    for log in logs.values():
        outcome = replay(log, Rules())
        partials |= outcome.partials
        sizes |= outcome.sizes
        reasons.update(reason for reason, _ in outcome.letters)
    return partials, sizes, reasons


def run_consumer(settings, events, warm, *extra):
    script = PROJECT / "benchmarks" / "collect" / "consumer_peer.py"
    command = [sys.executable, str(script), "--bootstrap", settings.kafka.bootstrap_servers]
    command += ["--topic", topic_name(settings, TWEETS), "--events", str(events), "--warm", str(warm), *extra]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_consumer_peer_sends_what_the_rules_ask(kafka_settings, tmp_path):
    count = send_all(kafka_settings, cascades(np.random.default_rng(3)))
    done = run_consumer(kafka_settings, count, 100, "--out", str(tmp_path / "values"))
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["system"] == "consumer"
    assert figures["checkpoint_bytes_per_event"] is None
    assert "a restart loses" in figures["note"]
    assert 0 <= figures["events"] <= count - 100
    partials, sizes, reasons = expected_of(kafka_settings)
    found = [json.loads(line) for line in (tmp_path / "values").read_text("utf-8").splitlines()]
    series = [value for value in found if value.get("type") == "serie"]
    totals = [value for value in found if value.get("type") == "size"]
    assert Counter(value["reason"] for value in found if "reason" in value) == reasons
    assert (len(series), len(totals)) == (len(partials), len(sizes))
    for value in series:
        expected = partials[value["cid"], value["T_obs"], value["t_root"]]
        assert {name: value[name] for name in expected} == expected
    for value in totals:
        assert sizes[value["cid"], value["T_obs"], value["t_root"]] == (value["n_tot"], value["t_end"])
    # What the events are about did happen: both sides could be wrong alike.
    assert len(partials) > 150
    assert min(reasons["orphan"], reasons["repeated_root"]) > 20


@pytest.mark.parametrize("warm", [10, 11])
def test_a_peer_refuses_a_warm_up_without_an_end(kafka_settings, warm):
    done = run_consumer(kafka_settings, 10, warm)
    assert done.returncode == 2
    assert "--warm" in done.stderr


def test_a_peer_refuses_more_events_than_there_are(kafka_settings):
    done = run_consumer(kafka_settings, 10, 5)
    assert done.returncode == 1
    assert "holds 0 events" in done.stderr
