import json
import threading
from collections import defaultdict
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from jobs.generate import generate, main
from jobs.runtime.clients import client_config
from jobs.runtime.knobs import Generator
from jobs.runtime.schedule import plan
from jobs.runtime.sources.formats import read_cascades
from jobs.runtime.topics import TWEETS, topic_name
from tests.unit.runtime.builders import cascades_of

REAL = Path(__file__).resolve().parents[2] / "../shared/data/tideh_seismic100.events.csv.gz"
AWKWARD_IDS = ["plain", "é😀 \u202ex", "\"quoted\" \\ 'back'", "new\nline", "é" * 256, "x" * 512, "0"] + [
    f"id-{number}" for number in range(60)
]


def murmur2(data):
    """Hash as Kafka's default partitioner does, written from its description (seed, multiplier)."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def with_generator(settings, **knobs):
    return settings.model_copy(update={"generator": Generator(**({"acceleration": 0} | knobs))})


def read_all(settings):
    """Every record of the tweets topic, by partition, up to the high watermarks."""
    name = topic_name(settings, TWEETS)
    reader = Consumer({**client_config(settings), "group.id": "unused", "auto.offset.reset": "earliest"})
    places = [TopicPartition(name, number, 0) for number in range(settings.kafka.partitions)]
    wanted = sum(reader.get_watermark_offsets(place, timeout=10)[1] for place in places)
    reader.assign(places)
    records, count = defaultdict(list), 0
    while count < wanted:
        batch = reader.consume(min(wanted - count, 10_000), 10)
        assert batch, f"{count} of {wanted} records within 10 s"
        for record in batch:
            assert record.error() is None
            records[record.partition()].append(record)
        count += len(batch)
    reader.close()
    return records


def high_watermarks(settings):
    reader = Consumer({**client_config(settings), "group.id": "unused"})
    name = topic_name(settings, TWEETS)
    ends = [
        reader.get_watermark_offsets(TopicPartition(name, number), timeout=10)[1]
        for number in range(settings.kafka.partitions)
    ]
    reader.close()
    return ends


def test_murmur2_is_the_one_kafka_publishes():
    # The expectations of Kafka's own UtilsTest.testMurmur2.
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    assert {data: (murmur2(data) ^ 1 << 31) - (1 << 31) for data in known} == known


def test_keys_lie_where_kafkas_default_partitioner_puts_them(kafka_settings):
    settings = with_generator(kafka_settings, start_range_s=0)
    report = generate(settings, cascades_of(*[[0, 1]] * len(AWKWARD_IDS), ids=AWKWARD_IDS), threading.Event())
    assert (report.events, report.failures, report.complete) == (2 * len(AWKWARD_IDS), 0, True)
    placed = defaultdict(list)
    for partition, records in read_all(settings).items():
        for record in records[:-1]:
            placed[record.key().decode()].append(partition)
            assert json.loads(record.value())["info"] == "cascade=" + record.key().decode()
            assert record.headers() == [("schema", b"1")]
    count = settings.kafka.partitions
    assert placed == {cid: [(murmur2(cid.encode()) & 0x7FFFFFFF) % count] * 2 for cid in AWKWARD_IDS}


def test_each_partition_is_in_time_order_and_ends_with_the_closing_tick(kafka_settings):
    settings = with_generator(kafka_settings)
    cascades = cascades_of(*[[0, 10, 700.5, 2000]] * 40, texts=[f"text {n}" for n in range(40)])
    report = generate(settings, cascades, threading.Event())
    schedule = plan(cascades, settings.generator)
    assert report.ticks == settings.kafka.partitions
    assert (report.first_event_s, report.last_event_s) == (
        schedule.event_time_s[0],
        schedule.event_time_s[-1],
    )
    sent = []
    for records in read_all(settings).values():
        *events, tick = [json.loads(record.value()) for record in records]
        assert [event["t"] for event in events] == sorted(event["t"] for event in events)
        assert tick == {"type": "tick", "t": report.last_event_s + 1800 + 1200 + 10 + 1}
        assert records[-1].key() is None
        sent += events
    assert sorted(event["t"] for event in sent) == schedule.event_time_s.tolist()
    roots = [event for event in sent if event["type"] == "tweet"]
    assert sorted(root["msg"] for root in roots) == sorted(cascades.texts)
    assert all(event["msg"] is None for event in sent if event["type"] == "retweet")


def test_a_stopped_run_sends_no_tick(kafka_settings):
    stop = threading.Event()
    cascades = cascades_of(*[[0, 1e6]] * 10)
    report = generate(
        with_generator(kafka_settings, acceleration=1000),
        cascades,
        stop,
        lambda progress: stop.set() if progress.events == 10 else None,
    )
    assert (report.events, report.ticks, report.complete, report.cascades) == (10, 0, False, 10)
    assert sum(high_watermarks(kafka_settings)) == 10


def test_a_record_that_is_refused_is_counted_as_lost(kafka_settings):
    largest = 6_000_000
    cascades = cascades_of([0, 1], [0], texts=["x" * largest, "short"])
    report = generate(with_generator(kafka_settings), cascades, threading.Event())
    assert (report.events, report.failures) == (3, 1)
    assert sum(high_watermarks(kafka_settings)) == 2 + kafka_settings.kafka.partitions


def test_generate_command_sends_a_file(kafka_settings, tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("cascade,t_s,followers\na,0,1\na,5,2\nb,0,3\n")
    kafka = kafka_settings.kafka
    flags = [
        *("--kafka.bootstrap_servers", kafka.bootstrap_servers, "--kafka.topic_prefix", kafka.topic_prefix),
        *("--generator.acceleration", "0", "--data", str(path)),
    ]
    assert main(flags) == 0
    assert sum(high_watermarks(kafka_settings)) == 3 + kafka.partitions


def test_generate_command_refuses_a_bad_file_before_it_needs_a_broker(tmp_path, capsys):
    path = tmp_path / "events.csv"
    path.write_text("cascade,t_s,followers\na,0,-1\n")
    assert main(["--data", str(path)]) == 2
    assert "events.csv, line 2: followers must be" in capsys.readouterr().err


def test_real_cascades_are_sent_whole_and_fast(kafka_settings):
    if not REAL.is_file():
        pytest.skip("the real cascades are not beside the project")
    settings = with_generator(kafka_settings)
    report = generate(settings, read_cascades([REAL], 512), threading.Event())
    assert (report.events, report.cascades, report.failures, report.complete) == (395_087, 100, 0, True)
    assert sum(high_watermarks(settings)) == 395_087 + report.ticks
    # A machine that is busy with other tests still leaves half of the 50,000 events a second asked for.
    assert report.events / report.wall_s > 25_000
