"""Opaque byte strings, hashed and told apart in compiled loops."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from udfs.ragged import Ints

Bytes = NDArray[np.uint8]

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


@njit(cache=True)
def hash_bytes(data: Bytes, start: int, stop: int, seed: np.uint64) -> np.uint64:
    """Hash ``data[start:stop]`` to 64 bits, eight bytes a step (the finisher is splitmix64's)."""
    h = seed ^ (np.uint64(stop - start) * _PRIME)
    place = start
    while place < stop:
        word = np.uint64(0)
        for shift in range(min(8, stop - place)):
            word |= np.uint64(data[place + shift]) << np.uint64(8 * shift)
        h = (h ^ word) * _PRIME
        h ^= h >> np.uint64(32)
        place += 8
    h ^= h >> np.uint64(30)
    h *= _MIX
    return h ^ (h >> np.uint64(27))


@njit(cache=True)
def buckets_of(offsets: Ints, data: Bytes, count: int) -> NDArray[np.int32]:
    """Return the bucket of each id, shape (n,), in ``0 … count - 1``; the same in every process and run."""
    bucket = np.zeros(len(offsets) - 1, np.int32)
    if count == 1:
        return bucket
    for i in range(len(bucket)):
        bucket[i] = np.int32(hash_bytes(data, offsets[i], offsets[i + 1], np.uint64(0)) % np.uint64(count))
    return bucket


@njit(cache=True)
def place_of(
    index: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    ends: Ints,
    known: Bytes,
    h: np.uint64,
    data: Bytes,
    start: int,
    stop: int,
) -> np.int64:
    """Return where an open-addressing index names the id ``data[start:stop]`` of hash ``h``, or could.

    The index, a power of two long and never full, holds numbers of known ids; -1 is empty. The known id j has
    ``hashes[j]`` and the bytes ``known[ends[j]:ends[j + 1]]``. Ids are compared byte by byte, so two ids with
    one hash stay two.
    """
    mask = np.uint64(len(index) - 1)
    place = h & mask
    while True:
        j = index[place]
        if j < 0 or (hashes[j] == h and _same(known, ends[j], ends[j + 1], data, start, stop)):
            return np.int64(place)
        place = (place + np.uint64(1)) & mask


@njit(cache=True)
def _same(a: Bytes, a_start: int, a_stop: int, b: Bytes, b_start: int, b_stop: int) -> bool:
    if a_stop - a_start != b_stop - b_start:
        return False
    for i in range(a_stop - a_start):
        if a[a_start + i] != b[b_start + i]:
            return False
    return True
