"""The level at which each look is tested, so that the error of all looks together is ``alpha``."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from mdaf.streams import stream_seed

SEQUENCES = 1_000_000  # simulated: the error of all looks is then known to 0.02 percentage points at 5 %
BLOCK = 2_000_000  # numbers that are drawn at a time


@dataclass(frozen=True)
class NominalLevel:
    """The two-sided level of each look, and what it was computed from.

    ``alpha``           the error of all looks together.
    ``standard_error``  of that error, since it was simulated; 0 for a single look, whose level is ``alpha`` itself.
    ``sequences``       that were simulated.
    """

    level: float
    alpha: float
    standard_error: float
    sequences: int


@functools.lru_cache(maxsize=64)
def nominal_level(looks: tuple[int, ...], alpha: float) -> NominalLevel:
    """The level for paired t-tests after each of these numbers of pairs.

    Where nothing differs, at least one of the looks has a p below this level with probability ``alpha``. A level that
    is the same at every look is Pocock's design (Pocock 1977). His tables are for a known variance and equal steps, so
    the level is found on simulated sequences of normal differences.
    """
    if len(looks) == 1:
        return NominalLevel(alpha, alpha, 0.0, 0)
    rng = np.random.default_rng(stream_seed(0, "looks", *map(str, looks)))
    values = np.concatenate([np.abs(t_values(block, looks)) for block in drawn(rng, SEQUENCES, looks[-1])])

    def too_often(level: float) -> float:
        return float((values > critical(looks, level)).any(axis=1).mean()) - alpha

    return NominalLevel(
        level=float(optimize.bisect(too_often, alpha / len(looks) / 2, alpha, xtol=1e-7)),
        alpha=alpha,
        standard_error=math.sqrt(alpha * (1 - alpha) / SEQUENCES),
        sequences=SEQUENCES,
    )


def critical(looks: Sequence[int], level: float) -> np.ndarray:
    """(look,) absolute t beyond which p is below ``level``."""
    values: np.ndarray = stats.t.isf(level / 2, np.asarray(looks) - 1)
    return values


def drawn(rng: np.random.Generator, sequences: int, pairs: int) -> Iterator[np.ndarray]:
    """Blocks of (sequence, pair) standard normal differences, so many sequences in all."""
    rows = max(1, BLOCK // pairs)
    for start in range(0, sequences, rows):
        yield rng.standard_normal((min(rows, sequences - start), pairs))


def t_values(differences: np.ndarray, looks: Sequence[int]) -> np.ndarray:
    """(sequence, look) t of the first pairs of each sequence; ``differences`` are (sequence, pair)."""
    n = np.asarray(looks)
    sums = np.cumsum(differences, axis=1)[:, n - 1]
    squares = np.cumsum(differences**2, axis=1)[:, n - 1]
    variances = (squares - sums**2 / n) / (n - 1)
    values: np.ndarray = sums / np.sqrt(n * variances)
    return values
