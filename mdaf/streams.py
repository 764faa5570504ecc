"""Named random streams: one seed fans out to independent ones, each with a name that says what it is for."""

from __future__ import annotations

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream ``names`` of ``seed``.

    The same arguments give the same value on every machine; streams of other names or another seed are unrelated to
    it, so adding a stream never disturbs the existing ones.
    """
    key = "\x1f".join([str(int(seed)), *map(str, names)]).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


def draws(stream: int, numbers: np.ndarray) -> np.ndarray:
    """A random uint64 for each of ``numbers`` (any shape, uint64), a function of the two alone.

    The output function of SplitMix64 (Steele, Lea, Flood 2014), started at a place that the stream decides.
    """
    return _mixed(numbers * _GOLDEN + _mixed(np.array([stream], dtype=np.uint64)))


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
