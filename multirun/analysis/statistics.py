"""What few seeds can say: intervals, paired differences and their tests. ``verdict_rule`` makes a verdict of them.

Pure functions of numbers; nothing here knows what a run is. Differences are paired by seed: a seed draws the same
initial weights and the same order of samples for both configurations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

Interval = tuple[float, float]

MOST_EXACT = 20  # pairs up to which all sign flips are counted; 2**20 of them
MIN_RESAMPLED = 5  # values; of two and three, resamples cover 51 and 74 % where 95 % is meant
SMALLEST_P = 1e-300  # that is told from zero
POWER = 0.8  # at which a difference counts as detectable


@dataclass(frozen=True)
class Spread:
    """A sample's mean and sample standard deviation, and 95 % (or ``level``) intervals of the mean.

    ``t_interval`` is None for fewer than two values, ``bootstrap_interval`` for fewer than ``MIN_RESAMPLED``.
    """

    n: int
    mean: float
    sd: float | None
    t_interval: Interval | None
    bootstrap_interval: Interval | None


@dataclass(frozen=True)
class Paired:
    """The differences ``a - b`` of two configurations over the seeds that both have, and what tests say of them.

    ``effect``           mean difference in units of the differences' standard deviation (Cohen's d of pairs).
    ``t_p``              two-sided p of the paired t-test; None where it cannot be computed.
    ``permutation_p``    two-sided p of the exact sign-flip test.
    ``permutation_floor``  the smallest p that this test can give at so many pairs: 0.0625 at five.
    ``detectable``       the difference that so many pairs of this spread detect with 80 % power at level ``alpha``.
    """

    spread: Spread
    effect: float | None
    t_p: float | None
    permutation_p: float
    permutation_floor: float
    detectable: float | None


def spread(values: Sequence[float], rng: np.random.Generator, level: float = 0.95, resamples: int = 9999) -> Spread:
    """Mean, standard deviation and intervals of ``values``; ValueError if there is none or one is not finite."""
    sample = np.asarray(values, dtype=float)
    if not len(sample) or not np.isfinite(sample).all():
        raise ValueError(f"expected finite values, at least one; found {list(values)}")
    mean = float(sample.mean())
    if len(sample) < 2:
        return Spread(1, mean, None, None, None)
    return Spread(
        n=len(sample),
        mean=mean,
        sd=float(sample.std(ddof=1)),
        t_interval=t_interval(sample, level),
        bootstrap_interval=bootstrap_interval(sample, rng, level, resamples) if len(sample) >= MIN_RESAMPLED else None,
    )


def t_interval(sample: np.ndarray, level: float = 0.95) -> Interval:
    """Student's interval of the mean of at least two values."""
    n = len(sample)
    half = float(special.stdtrit(n - 1, 0.5 + level / 2) * sample.std(ddof=1) / math.sqrt(n))
    return float(sample.mean()) - half, float(sample.mean()) + half


def combined_interval(sample: np.ndarray, users_error: float, level: float = 0.95) -> Interval:
    """Interval of the mean of at least two differences with the error of seeds and that of evaluated users.

    The squared half-widths of the two intervals add up (Howe 1974): Student's over the seeds, and the normal one of
    ``users_error``, the standard error of the mean difference over resampled users. With 0 it is Student's alone.
    """
    low, high = t_interval(sample, level)
    half = math.hypot((high - low) / 2, float(special.ndtri(0.5 + level / 2)) * users_error)
    return float(sample.mean()) - half, float(sample.mean()) + half


def combined_p(sample: np.ndarray, users_error: float) -> float | None:
    """Two-sided p of the mean: the level at which ``combined_interval`` touches zero; None without spread.

    It is at least the p of the paired t-test, and equal to it where ``users_error`` is 0.
    """
    if not varies(sample):
        return None
    n, mean = len(sample), float(sample.mean())
    error = float(sample.std(ddof=1)) / math.sqrt(n)
    of_seeds = 2 * float(special.stdtr(n - 1, -abs(mean) / error))
    if users_error == 0:
        return of_seeds

    def too_wide(log_p: float) -> float:
        tail = math.exp(log_p) / 2
        return math.hypot(special.stdtrit(n - 1, tail) * error, special.ndtri(tail) * users_error) - abs(mean)

    lowest = math.log(max(of_seeds, SMALLEST_P))
    return math.exp(optimize.brentq(too_wide, lowest, 0.0, xtol=1e-13)) if too_wide(lowest) > 0 else of_seeds


def bootstrap_interval(
    sample: np.ndarray, rng: np.random.Generator, level: float = 0.95, resamples: int = 9999
) -> Interval:
    """Expanded percentile bootstrap interval of the mean (Hesterberg 2015, section 4.1).

    The plain percentile interval is too narrow by sqrt((n - 1) / n) and by z instead of t, which at five values makes
    95 % cover about 82 %. The expanded one takes percentiles further out by just these two factors.
    """
    n = len(sample)
    tail = float(stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.5 + level / 2, n - 1)))
    means = sample[rng.integers(0, n, size=(resamples, n))].mean(axis=1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def paired(
    a: Sequence[float], b: Sequence[float], rng: np.random.Generator, alpha: float = 0.05, tests: int = 1
) -> Paired:
    """``a - b``, element by element, the same seeds in the same order.

    ``tests`` is how many comparisons share ``alpha``: detectable differences are computed at ``alpha / tests``.
    """
    if len(a) != len(b):
        raise ValueError(f"pairs need equally many values; found {len(a)} and {len(b)}")
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    found = spread(list(differences), rng)
    n, sd = found.n, found.sd
    spreads = varies(differences)
    return Paired(
        spread=found,
        effect=found.mean / sd if spreads and sd else None,
        t_p=float(stats.ttest_1samp(differences, 0.0).pvalue) if spreads else None,
        permutation_p=sign_flip_p(differences),
        permutation_floor=sign_flip_floor(n),
        detectable=detectable_difference(sd, n, alpha / tests) if spreads and sd else None,
    )


def varies(sample: np.ndarray) -> bool:
    """Whether the values differ by more than the rounding of numbers of their size."""
    return len(sample) > 1 and bool(np.ptp(sample) > 1e-12 * np.abs(sample).max())


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p of the exact sign-flip test: the share of all 2**n sign patterns with as large an absolute mean.

    Up to ``MOST_EXACT`` pairs; beyond, ``scipy`` draws the patterns. Its floor is ``sign_flip_floor``.
    """
    n = len(differences)
    if n > MOST_EXACT:
        test = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=99_999, rng=np.random.default_rng(0)
        )
        return float(test.pvalue)
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    observed = abs(float(np.sum(differences)))
    return float(np.mean(np.abs(sums) >= observed * (1 - 1e-12) - 1e-300))


def sign_flip_floor(n: int) -> float:
    """The smallest two-sided p of the sign-flip test of n pairs: two patterns of 2**n. 0.0625 at five."""
    return 2.0 ** (1 - n)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Holm 1979); None stays None and does not count as a test."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[index] = highest
    return adjusted


def power(difference: float, sd: float, n: int, alpha: float = 0.05) -> float:
    """Probability that a two-sided paired t-test of n pairs finds a true mean ``difference`` of spread ``sd``.

    The squared t statistic is noncentral F with 1 and n - 1 degrees of freedom; scipy's noncentral t is NaN in places.
    """
    if difference == 0:
        return alpha
    critical = stats.t.ppf(1 - alpha / 2, n - 1) ** 2
    return float(stats.ncf.sf(critical, 1, n - 1, n * (difference / sd) ** 2))


def detectable_difference(sd: float, n: int, alpha: float = 0.05) -> float:
    """The smallest true difference that n pairs of spread ``sd`` detect with probability ``POWER``."""
    if n < 2:
        raise ValueError(f"a detectable difference needs two pairs at least; found {n}")

    def short(effect: float) -> float:
        return power(effect, 1.0, n, alpha) - POWER

    highest = next(2.0**k for k in itertools.count(1) if short(2.0**k) > 0)
    return float(optimize.brentq(short, 1e-9, highest)) * sd
