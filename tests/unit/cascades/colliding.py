"""Ids whose hashes collide in tables of one known seed."""

from __future__ import annotations

import numpy as np

from udfs.cascades.ids import hash_bytes

SEED = np.uint64(5)


def hash_of(name, seed=SEED):
    return int(hash_bytes(np.frombuffer(name, np.uint8), 0, len(name), seed))


def crowded(count):
    """Ids whose hashes end with the same 12 bits: one place in any table of up to 4096."""
    places = {}
    for number in range(count * 4096 * 2):
        name = b"%d" % number
        places.setdefault(hash_of(name) % 4096, []).append(name)
    return max(places.values(), key=len)[:count]


def unmixed(word, h, prime=0x9E3779B97F4A7C15):
    """One step of the hash before its finisher, in Python's integers."""
    h = ((h ^ word) * prime) % 2**64
    return h ^ (h >> 32)


def pair_of_one_hash():
    """Two ids, both UTF-8 as the collector wants them, that have one hash under SEED."""
    # Each step of 8 bytes can be undone: choose the second half so that both ids end in the same state.
    prime = 0x9E3779B97F4A7C15
    start = int(SEED) ^ (16 * prime % 2**64)
    one, tail = b"first id", b"the tail"
    after = unmixed(int.from_bytes(one, "little"), start)
    for number in range(1000):
        other = b"%08d" % number
        same = int.from_bytes(tail, "little") ^ after ^ unmixed(int.from_bytes(other, "little"), start)
        try:
            return (one + tail).decode(), (other + same.to_bytes(8, "little")).decode()
        except UnicodeDecodeError:
            continue
    raise AssertionError("one in fifty is UTF-8")
