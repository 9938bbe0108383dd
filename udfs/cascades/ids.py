"""Opaque byte strings, hashed and told apart in compiled loops."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from udfs.ragged import Ints

Bytes = NDArray[np.uint8]

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


@njit(cache=True, inline="always")
def _word(data: Bytes, at: np.uintp) -> np.uint64:
    """Return eight bytes, the first the lowest; spelt out, it is one load."""
    word = np.uint64(0)
    for i in range(8):
        word |= np.uint64(data[at + np.uintp(i)]) << np.uint64(8 * i)
    return word


@njit(cache=True, inline="always")
def _mixed(h: np.uint64, word: np.uint64) -> np.uint64:
    h = (h ^ word) * _PRIME
    return h ^ (h >> np.uint64(32))


@njit(cache=True)
def hash_bytes(data: Bytes, start: int, stop: int, seed: np.uint64) -> np.uint64:
    """Hash ``data[start:stop]`` to 64 bits, eight bytes a step (the finisher is splitmix64's)."""
    h = seed ^ (np.uint64(stop - start) * _PRIME)
    place = start
    while place + 8 <= stop:
        h = _mixed(h, _word(data, np.uintp(place)))
        place += 8
    if place < stop:
        word = np.uint64(0)
        for i in range(stop - place):
            word |= np.uint64(data[np.uintp(place + i)]) << np.uint64(8 * i)
        h = _mixed(h, word)
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
def copy(into: Bytes, at: int, data: Bytes, start: int, size: int) -> None:
    """Copy ``size`` bytes."""
    for i in range(size):
        into[np.uintp(at + i)] = data[np.uintp(start + i)]


@njit(cache=True)
def place_of(
    names: NDArray[np.int32],
    slots: NDArray[np.void],
    known: Bytes,
    h: np.uint64,
    data: Bytes,
    start: int,
    stop: int,
) -> np.int64:
    """Return where an open-addressing index names the id ``data[start:stop]`` of hash ``h``, or could.

    The index, a power of two long and never full, holds numbers of slots; -1 is empty. A slot has ``hash``
    and the ``id_size`` bytes of ``known`` from ``id_start``. Ids are compared byte by byte, so two ids with
    one hash stay two.
    """
    mask = np.uint64(len(names) - 1)
    place = h & mask
    while True:
        s = names[place]
        if s < 0 or (
            slots[s].hash == h and _same(known, slots[s].id_start, slots[s].id_size, data, start, stop)
        ):
            return np.int64(place)
        place = (place + np.uint64(1)) & mask


@njit(cache=True)
def _same(known: Bytes, at: int, size: int, data: Bytes, start: int, stop: int) -> bool:
    if stop - start != size:
        return False
    for i in range(size):
        if known[np.uintp(at + i)] != data[np.uintp(start + i)]:
            return False
    return True
