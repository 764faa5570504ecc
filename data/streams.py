"""Named random streams: one seed fans out to independent ones, each with a name that says what it is for."""

from __future__ import annotations

import hashlib


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream ``names`` of ``seed``.

    The same arguments give the same value on every machine; streams of other names or another seed are unrelated to
    it, so adding a stream never disturbs the existing ones.
    """
    key = "\x1f".join([str(int(seed)), *map(str, names)]).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1
