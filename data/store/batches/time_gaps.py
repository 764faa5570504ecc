"""Buckets of the time between an event and the sample, two for each doubling: 1 s, 2, 3, 4, 6, 8, 12, 16, 24, 32 ...

The bucket is computed from the bits of a float32: its exponent, and the first bit of its fraction. So all devices
agree, and no logarithm is needed. A float32 is exact up to 2^24 s, half a year. Beyond that, a gap at the edge of a
bucket may be rounded to the next one.
"""

from __future__ import annotations

import torch

_FRACTION_BITS = 22  # bits of a float32's fraction after the first one
_BITS_OF_ONE = (127 << 1) + 1  # 1 s and the half octave after it, which contains no whole second, are one bucket


def gap_bucket(seconds: torch.Tensor, buckets: int) -> torch.Tensor:
    """The bucket of each gap, int32 in [0, buckets). The last bucket has no upper end. ``seconds`` is at least 1."""
    bits = seconds.to(torch.float32).view(torch.int32) >> _FRACTION_BITS
    return (bits - _BITS_OF_ONE).clamp_(0, buckets - 1)


def gap_buckets(longest: int) -> int:
    """The number of buckets for gaps up to ``longest`` seconds; at least 1."""
    return 1 + int(gap_bucket(torch.tensor([max(1, longest)]), 1 << 16))


def gap_edges(buckets: int) -> list[int]:
    """The least seconds of each bucket: 1, 2, 3, 4, 6, 8 ..."""
    return [1, *(2 ** (n // 2) * (2 + n % 2) // 2 for n in range(2, buckets + 1))]
