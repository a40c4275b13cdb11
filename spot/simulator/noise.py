"""Randomness with an address: the same key and index always give the same number.

The market is a function of (seed, product, time), not a process that runs: whatever minute is asked
for, in whatever order, before or after a restart, is the same minute. So nothing here keeps state,
and all of it is integer arithmetic, equal on every machine. Fractions are fixed-point: ONE is 1.
"""

import functools
import hashlib
import random

ONE = 1 << 32
_WORD = (1 << 64) - 1
_SHORT_PERIOD = 4
_GOLDEN = 0x9E3779B97F4A7C15


def key_of(*parts: object) -> int:
    """Return the 64-bit key of a path of names and numbers."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def bits(key: int, index: int) -> int:
    """Return 64 random-looking bits (the finalizer of splitmix64)."""
    x = (key + index * _GOLDEN) & _WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD
    return x ^ (x >> 31)


_corner = functools.lru_cache(maxsize=16_384)(bits)


def value_noise(key: int, at: int, period: int) -> int:
    """Return the noise in [0, ONE) at `at`: random at multiples of `period`, straight between."""
    index, rest = divmod(at, period)
    # Neighbours on a long wave share its corners; those of a short one would only fill the cache.
    corner = _corner if period > _SHORT_PERIOD else bits
    left = corner(key, index) >> 32
    if not rest:
        return left
    right = corner(key, index + 1) >> 32
    return left + (right - left) * rest // period


def generator(key: int) -> random.Random:
    """Return a generator for one bounded task; use `getrandbits` only, which never changed."""
    return random.Random(key)  # noqa: S311  a market needs repeatable numbers, not secret ones
