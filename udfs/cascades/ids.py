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
    bucket = np.empty(len(offsets) - 1, np.int32)
    for i in range(len(bucket)):
        bucket[i] = np.int32(hash_bytes(data, offsets[i], offsets[i + 1], np.uint64(0)) % np.uint64(count))
    return bucket


@njit(cache=True)
def match_ids(
    known_offsets: Ints, known_data: Bytes, offsets: Ints, data: Bytes, seed: np.uint64
) -> tuple[Ints, Ints]:
    """Number ids by their bytes: the known ones 0 … k-1, then each new one in order of appearance.

    Ids are compared byte by byte, so two ids with one hash stay two. A seed of the caller's choosing keeps a
    sender from preparing ids that collide.

    Returns
    -------
    The number of each id, shape (n,), and for each new number the first row that bears it.

    """
    n_known, n = len(known_offsets) - 1, len(offsets) - 1
    size = 16
    while size < 2 * (n_known + n):
        size *= 2
    mask = np.uint64(size - 1)
    table = np.full(size, -1, np.int64)
    hashes = np.empty(n_known + n, np.uint64)
    for i in range(n_known):
        hashes[i] = hash_bytes(known_data, known_offsets[i], known_offsets[i + 1], seed)
        place = hashes[i] & mask
        while table[place] >= 0:
            place = (place + np.uint64(1)) & mask
        table[place] = i
    number = np.empty(n, np.int64)
    first = np.empty(n, np.int64)
    n_new = 0
    for i in range(n):
        h = hash_bytes(data, offsets[i], offsets[i + 1], seed)
        place = h & mask
        while True:
            j = table[place]
            if j < 0:
                table[place] = n_known + n_new
                hashes[n_known + n_new] = h
                first[n_new] = i
                number[i] = n_known + n_new
                n_new += 1
                break
            if hashes[j] == h:
                if j < n_known:
                    same = _same(
                        known_data, known_offsets[j], known_offsets[j + 1], data, offsets[i], offsets[i + 1]
                    )
                else:
                    row = first[j - n_known]
                    same = _same(data, offsets[row], offsets[row + 1], data, offsets[i], offsets[i + 1])
                if same:
                    number[i] = j
                    break
            place = (place + np.uint64(1)) & mask
    return number, first[:n_new]


@njit(cache=True)
def _same(a: Bytes, a_start: int, a_stop: int, b: Bytes, b_start: int, b_stop: int) -> bool:
    if a_stop - a_start != b_stop - b_start:
        return False
    for i in range(a_stop - a_start):
        if a[a_start + i] != b[b_start + i]:
            return False
    return True
