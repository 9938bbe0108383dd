"""What the pipeline's benchmark computes: which event closes a window, whether a lag grows, what is sent."""

import numpy as np
import pytest

from benchmarks.pipeline import highest
from benchmarks.pipeline_parts.lag import judged, slope
from benchmarks.pipeline_parts.latency import closing_events, hops, percentiles
from benchmarks.pipeline_parts.record_batches import _TABLE, _crc32c, _murmur2, encoded, partition_of
from benchmarks.pipeline_parts.sender import prepared
from benchmarks.pipeline_parts.stream import Events, Stream


def events(*rows):
    event_ms, cascade, mark, is_root = zip(*rows, strict=True)
    return Events(np.array(event_ms), np.array(cascade), np.array(mark), np.array(is_root))


class TestClosingEvent:
    def test_is_the_first_that_brings_the_clock_to_the_windows_end(self):
        event_ms = np.array([0, 609_999, 610_000, 700_000])
        assert closing_events(event_ms, np.array([610_000])).tolist() == [2]

    def test_is_not_a_later_one_when_times_go_back(self):
        assert closing_events(np.array([5, 90, 40, 60]), np.array([50])).tolist() == [1]

    def test_is_unknown_when_none_is_late_enough(self):
        assert closing_events(np.array([5, 90]), np.array([91])).tolist() == [-1]

    def test_is_unknown_when_it_may_lie_before_what_is_known(self):
        assert closing_events(np.array([5, 90]), np.array([5])).tolist() == [-1]


class TestSlope:
    def test_of_a_line_is_its_own(self):
        assert slope([10.0, 12.0, 20.0], [7.0, 3.0, -13.0]) == pytest.approx((-2.0, 0.0))

    def test_of_noise_about_a_line_is_the_least_squares_one(self):
        rng = np.random.default_rng(1)
        t = np.arange(50.0)
        noisy = 3.0 * t + rng.normal(0.0, 5.0, 50)
        fit, covariance = np.polyfit(t, noisy, 1, cov=True)
        assert slope(t, noisy) == pytest.approx((fit[0], np.sqrt(covariance[0, 0])))

    def test_of_one_point_or_two_is_none(self):
        assert slope([1.0], [5.0]) == (0.0, 0.0)
        assert slope([1.0, 2.0], [5.0, 6.0]) == (0.0, 0.0)


class TestJudged:
    ends_s = np.arange(0.0, 20.0, 2.0)
    seconds = np.full(10, 2.0)

    def keeps_up(self, waiting, rate=1000.0):
        return judged(self.ends_s, waiting, self.seconds, rate, 0.5)["keeps_up"]

    def test_a_constant_lag_of_one_micro_batch_keeps_up(self):
        assert self.keeps_up(np.full(10, 2000.0)) is True

    def test_a_lag_that_grows_by_more_than_2_percent_of_the_input_does_not(self):
        assert self.keeps_up(2000.0 + 21.0 * self.ends_s) is False
        assert self.keeps_up(2000.0 + 19.0 * self.ends_s) is True

    def test_a_growth_that_may_be_chance_is_no_growth(self):
        saw = np.resize([0.0, 4000.0], 10)
        assert self.keeps_up(saw + 30.0 * self.ends_s) is True
        assert self.keeps_up(saw / 100.0 + 30.0 * self.ends_s) is False

    def test_a_constant_lag_of_many_micro_batches_does_not(self):
        assert self.keeps_up(np.full(10, 6001.0)) is False

    def test_a_lag_that_shrinks_to_one_micro_batch_keeps_up(self):
        assert self.keeps_up(np.linspace(20_000.0, 2000.0, 10)) is True

    def test_three_micro_batches_tell_nothing(self):
        assert judged([0.0, 1.0, 2.0], [0.0, 9e9, 9e9], [1.0] * 3, 10.0, 0.5)["keeps_up"] is None
        assert judged([], [], [], 10.0, 0.5)["keeps_up"] is None


def test_percentiles_of_nothing_are_nothing():
    assert percentiles(np.empty(0)) == {}


def test_hops_add_up_and_windows_without_prediction_are_missing():
    closed = {("c1", 600, 0): 10.0, ("c2", 600, 0): 20.0}
    times = {
        "collect": {("c1", 600, 0): 11.0, ("c2", 600, 0): 21.0},
        "estimate": {("c1", 600, 0): 14.0},
        "predict": {("c1", 600, 0): 14.5},
    }
    found = hops(closed, times)
    assert (found["predictions"], found["missing"], found["costliest_hop"]) == (1, 1, "estimate")
    assert found["seconds"]["p50"] == 4.5
    assert [hop["p50"] for hop in found["hops"].values()] == [1.0, 3.0, 0.5]


def test_the_highest_rate_is_one_that_was_held():
    steps = [{"rate": rate, "sustained": rate < 30} for rate in (10, 20, 30, 40)]
    assert highest(steps) == 20.0
    assert highest([]) == 0.0


class TestStream:
    def test_goes_on_in_order_at_the_density_asked_for(self):
        stream = Stream(240.0, (600, 1200), 10, seed=3)
        first, second = stream.take(400_000), stream.take(400_000)
        joined = np.concatenate([first.event_ms, second.event_ms])
        assert (np.diff(joined) >= 0).all()
        span_s = (joined[-1] - joined[400_000]) / 1000.0
        assert 400_000 / span_s == pytest.approx(240.0, rel=0.15)

    def test_has_one_root_a_cascade_and_it_comes_first(self):
        taken = Stream(1000.0, (600,), 10, seed=3).take(200_000)
        _, first = np.unique(taken.cascade, return_index=True)
        assert taken.is_root[first].all()
        assert taken.is_root.sum() == len(first)

    def test_knows_the_windows_that_hold_enough_events(self):
        stream = Stream(1000.0, (600, 1200), 10, seed=3)
        taken = stream.take(1_000_000)
        known = stream.windows
        root_ms = dict(zip(taken.cascade[taken.is_root].tolist(), taken.event_ms[taken.is_root], strict=True))
        since_ms = taken.event_ms - np.array([root_ms[number] for number in taken.cascade.tolist()])
        for window_s in (600, 1200):
            # Of cascades whose windows lie within what was taken.
            whole = {n for n, root in root_ms.items() if root + window_s * 1000 < taken.event_ms[-1]}
            sizes = np.bincount(taken.cascade[since_ms < window_s * 1000])
            large = {n for n in whole if sizes[n] >= 10}
            mine = known.window_s == window_s
            assert large == set(known.cascade[mine].tolist()) & whole
            assert len(large) > 1000

    def test_is_the_same_for_a_seed_however_it_is_cut(self):
        whole = Stream(500.0, (600,), 10, seed=5).take(3000)
        cut = Stream(500.0, (600,), 10, seed=5)
        parts = [cut.take(1000) for _ in range(3)]
        assert np.concatenate([part.event_ms for part in parts]).tolist() == whole.event_ms.tolist()


class TestRecordBatch:
    def test_checksum_and_hash_are_those_of_kafka(self):
        assert _crc32c(np.frombuffer(b"123456789", np.uint8), _TABLE) == 0xE3069283
        # From Kafka's own tests of its partitioner.
        for key, expected in ((b"21", -973932308), (b"foobar", -790332482), (b"abc", 479470107)):
            assert _murmur2(np.frombuffer(key, np.uint8)) == expected & 0xFFFFFFFF

    def test_one_record_is_where_the_format_puts_it(self):
        batch, size = encoded(events((1_234_056, 7, 99, False)))
        assert batch[16] == 2  # magic
        assert int.from_bytes(batch[8:12], "big") == len(batch) - 12
        assert int.from_bytes(batch[57:61], "big") == 1  # records
        frame = batch[61:]
        assert frame[:7] == bytes.fromhex("04224d18604082")
        assert frame[-4:] == b"\0\0\0\0"
        value = b'{"type":"retweet","msg":null,"t":1234.056,"m":99,"source":"source-3","info":"cascade=c7"}'
        assert size == 2 + 3 + 1 + 2 + 2 + len(value) + 10

    def test_every_event_is_sent_once_in_order_and_when_it_is_due(self):
        taken = Stream(500.0, (600,), 10, seed=5).take(10_000)
        segment = prepared(taken, partitions=2, rate=10_000.0, topic="tweets")
        assert segment.partition.tolist() == partition_of(taken.cascade, 2).tolist()
        assert segment.due_s == pytest.approx(np.arange(1, 21) * 0.05)
        for number in (0, 1):
            rows = [(first, count) for part in segment.rows for at, first, count in part if at == number]
            starts = np.cumsum([0, *(count for _, count in rows)])
            assert [first for first, _ in rows] == starts[:-1].tolist()
            assert starts[-1] == (segment.partition == number).sum()

    def test_keys_are_spread_over_partitions(self):
        counts = np.bincount(partition_of(np.arange(10_000), 4), minlength=4)
        assert counts.min() > 2300
