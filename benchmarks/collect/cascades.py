"""Simulated cascades with heavy-tailed sizes, as one stream of events in order of event time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Longest silence within a cascade, in seconds: below the 1800 s that end one, so no event is an orphan.
MAX_GAP_S = 1499.0
#: Least mean gap of a large cascade, in seconds: 20,000 events then take most of an hour.
MIN_MEAN_GAP_S = 0.15
#: A cascade of n events lasts this long on average, in seconds.
MEAN_LIFE_S = 1500.0
#: Silence that ends a cascade, in seconds.
TERMINATED_S = 1800.0
#: Ids look like the platform's: milliseconds, then 22 bits.
_FIRST_ID_MS, _ID_BITS = 405_000_000_000, 22
KAFKA_PARTITIONS = 4


@dataclass(frozen=True)
class Shape:
    """What one data set looks like."""

    cascades_per_s: float
    pareto: float
    max_size: int
    warm_s: float
    measured_events: int
    batches: tuple[tuple[int, int], ...]
    """(events of a micro-batch, how many of them are measured at most)"""
    warm_batch: int = 400_000
    open_cascades: int | None = None
    """How many cascades must be open, on average over the measured part, to within 5 %."""
    orphans: int = 0
    """Retweets of cascades that never were; as many again come after their cascade's end."""
    seed: int = 7


@dataclass(frozen=True)
class Stream:
    """N events in order of event time; those of a cascade lie in one Kafka partition."""

    t_ms: NDArray[np.int64]
    mark: NDArray[np.int64]
    cid: NDArray[np.int64]
    root: NDArray[np.bool_]
    partition: NDArray[np.int32]
    warm: int
    """Events before the measured part."""

    def __len__(self) -> int:
        return len(self.t_ms)

    def slice(self, part: slice) -> Stream:
        """Return a part of the events."""
        columns = (self.t_ms, self.mark, self.cid, self.root, self.partition)
        return Stream(*(column[part] for column in columns), warm=0)  # type: ignore[arg-type]


def simulate(shape: Shape) -> Stream:
    """Make the events of a data set; the same shape gives the same events."""
    rng = np.random.default_rng(shape.seed)
    # Cascades are born until well after the last event that is kept.
    mean_size = float(np.minimum(np.floor(rng.pareto(shape.pareto, 1_000_000) + 1), shape.max_size).mean())
    span_s = shape.warm_s + 1.25 * shape.measured_events / (shape.cascades_per_s * mean_size) + 300
    n = int(shape.cascades_per_s * span_s)
    sizes = np.minimum(np.floor(rng.pareto(shape.pareto, n) + 1), shape.max_size).astype(np.int64)
    start_s = np.sort(rng.uniform(0, span_s, n))
    ids = (_FIRST_ID_MS + (start_s * 1000).astype(np.int64) << _ID_BITS) + np.arange(n) % (1 << _ID_BITS)
    owner = np.repeat(np.arange(n), sizes)
    first = np.diff(owner, prepend=-1) != 0
    mean_gap_s = np.maximum(MEAN_LIFE_S / sizes, MIN_MEAN_GAP_S)[owner]
    gap_s = np.where(first, 0.0, np.minimum(rng.exponential(1.0, len(owner)) * mean_gap_s, MAX_GAP_S))
    age_s = np.cumsum(gap_s)
    t_ms = np.round((age_s - np.repeat(age_s[first], sizes) + start_s[owner]) * 1000).astype(np.int64)
    mark = np.minimum(np.floor(rng.pareto(0.9, len(owner)) * 50 + 1), 1e7).astype(np.int64)
    cid = ids[owner]
    if shape.orphans:
        t_ms, mark, cid, first = _with_orphans(shape.orphans, rng, t_ms, mark, cid, first)
    order = np.argsort(t_ms, kind="stable")
    warm = int(np.searchsorted(t_ms[order], shape.warm_s * 1000))
    order = order[: warm + shape.measured_events]
    if t_ms[order[-1]] > span_s * 1000 or len(order) < warm + shape.measured_events:
        raise AssertionError("the stream is too short for the events wanted")
    cid = cid[order]
    return Stream(t_ms[order], mark[order], cid, first[order], partitions_of(cid), warm)


def _with_orphans(
    count: int,
    rng: np.random.Generator,
    t_ms: NDArray[np.int64],
    mark: NDArray[np.int64],
    cid: NDArray[np.int64],
    first: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Add retweets of unknown ids, and retweets that come after their cascade has ended."""
    last = np.flatnonzero(np.append(first[1:], True))
    ended = rng.choice(last[: len(last) // 2], count, replace=False)
    unknown = rng.choice(len(t_ms) // 2, count, replace=False)
    late_ms = t_ms[ended] + int(TERMINATED_S * 1000) + rng.integers(1000, 400_000, count)
    return (
        np.concatenate([t_ms, t_ms[unknown], late_ms]),
        np.concatenate([mark, np.full(2 * count, 7)]),
        np.concatenate([cid, cid[unknown] + (1 << (_ID_BITS - 1)), cid[ended]]),
        np.concatenate([first, np.zeros(2 * count, bool)]),
    )


def flush(after_ms: int) -> Stream:
    """Return a cascade of one event per partition, 10,000 s later, and once more after as long.

    The first closes every window and cascade of systems whose clock moves with the events they have read;
    the second those of systems whose clock moves a micro-batch later.
    """
    candidates = (_FIRST_ID_MS + after_ms << _ID_BITS) + np.arange(64)
    place = partitions_of(candidates)
    pairs = [candidates[place == partition][:2] for partition in range(KAFKA_PARTITIONS)]
    cid = np.array(pairs).T.ravel()
    t_ms = after_ms + 10_000_000 * np.repeat([1, 2], KAFKA_PARTITIONS)
    return Stream(t_ms, np.ones_like(cid), cid, np.ones(len(cid), bool), partitions_of(cid), 0)


def open_cascades(stream: Stream) -> dict[str, int]:
    """Count the cascades open at the measured part's start and end, and on average between."""
    _, owner = np.unique(stream.cid, return_inverse=True)
    start, end = np.full(owner.max() + 1, np.inf), np.full(owner.max() + 1, -np.inf)
    np.minimum.at(start, owner, stream.t_ms)
    np.maximum.at(end, owner, stream.t_ms)
    at = np.linspace(stream.t_ms[stream.warm], stream.t_ms[-1], 9)
    counts = [int(((start <= t) & (end + TERMINATED_S * 1000 > t)).sum()) for t in at]
    return {"at_start": counts[0], "at_end": counts[-1], "mean": int(np.mean(counts))}


def partitions_of(cid: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return where Kafka's default partitioner puts these ids: murmur2 of their 19 digits, modulo 4.

    >>> partitions_of(np.array([1698693120000000000, 1698693120000000001])).tolist()
    [1, 2]
    """
    m, mask = np.uint64(0x5BD1E995), np.uint64(0xFFFFFFFF)
    digits = np.char.encode(cid.astype("U19"), "ascii")
    width = digits.dtype.itemsize
    data = np.ascontiguousarray(digits).view(np.uint8).reshape(len(cid), width)
    h = np.full(len(cid), 0x9747B28C ^ width, np.uint64)
    whole = width // 4 * 4
    words = np.ascontiguousarray(data[:, :whole]).view("<u4").astype(np.uint64)
    for column in range(words.shape[1]):
        k = words[:, column] * m & mask
        h = (h * m & mask) ^ ((k ^ k >> np.uint64(24)) * m & mask)
    for place in range(width - whole - 1, -1, -1):
        h ^= data[:, whole + place].astype(np.uint64) << np.uint64(8 * place)
    h = h * m & mask if width > whole else h
    h = (h ^ h >> np.uint64(13)) * m & mask
    return ((h ^ h >> np.uint64(15)) & np.uint64(0x7FFFFFFF)).astype(np.int64).astype(
        np.int32
    ) % KAFKA_PARTITIONS
