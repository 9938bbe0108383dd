"""Numbers of buckets by which Spark spreads them evenly.

Spark sends a row to the task ``hash(key) mod tasks``. Of a few buckets, most would often land in one task.
But the hash of one integer (Murmur3, x86, 32 bits, seed 42) can be undone: a bucket's key here is the number
whose hash is the bucket's own number, so buckets go to tasks in turn, however many tasks there are.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_SEED = 42
_C1, _C2, _ADD, _FINAL1, _FINAL2 = 0xCC9E2D51, 0x1B873593, 0xE6546B64, 0x85EBCA6B, 0xC2B2AE35


def shard_of(number: int) -> int:
    """Return the key, a signed 32-bit integer, that Spark hashes to ``number``.

    >>> [shard_of(number) for number in range(3)]
    [-1693959553, -1910889132, -1382833682]
    """
    h = _unshifted(number & _MASK, 16) * pow(_FINAL2, -1, 1 << 32) & _MASK
    h = _unshifted(h, 13) * pow(_FINAL1, -1, 1 << 32) & _MASK
    h = _unshifted(h, 16) ^ 4
    h = (h - _ADD) * pow(5, -1, 1 << 32) & _MASK
    k = _rotated(h, 32 - 13) ^ _SEED
    k = _rotated(k * pow(_C2, -1, 1 << 32) & _MASK, 32 - 15) * pow(_C1, -1, 1 << 32) & _MASK
    return k - (1 << 32) if k >> 31 else k


def number_of(shard: int) -> int:
    """Return what Spark hashes a key to, modulo 2^32.

    >>> [number_of(shard_of(number)) for number in (0, 1, 4095)]
    [0, 1, 4095]
    """
    k = _rotated((shard & _MASK) * _C1 & _MASK, 15) * _C2 & _MASK
    h = (_rotated(_SEED ^ k, 13) * 5 + _ADD & _MASK) ^ 4
    h = (h ^ h >> 16) * _FINAL1 & _MASK
    h = (h ^ h >> 13) * _FINAL2 & _MASK
    return h ^ h >> 16


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _MASK


def _unshifted(word: int, bits: int) -> int:
    """Undo ``word ^= word >> bits``."""
    found = word
    for _ in range(32 // bits):
        found = word ^ found >> bits
    return found
