"""Configurations compared in pairs, seed by seed: differences, tests, verdicts. Nothing here knows what a run is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mdaf.multirun.analysis.rows.roc import DeLong
from mdaf.multirun.analysis.statistics import (
    Interval,
    Paired,
    combined_interval,
    combined_p,
    holm,
    paired,
    varies,
)
from mdaf.multirun.analysis.verdict_rule import Verdict, verdict
from mdaf.streams import stream_seed

Values = Mapping[str, Mapping[int, float]]  # configuration -> seed -> value, the higher the better


class RowsOfPairs(Protocol):
    """What the rows on which both configurations were evaluated say of their difference."""

    def delong(self, a: str, b: str, seeds: Sequence[int]) -> Mapping[int, DeLong]:
        """DeLong's test of each seed for which there are rows."""

    def users_error(self, a: str, b: str, seeds: Sequence[int]) -> float | None:
        """Standard error of the mean difference over resampled users, None without rows."""


@dataclass(frozen=True)
class DelongFigures:
    """DeLong's test of one seed's two runs on the same rows; ``holm_p`` is adjusted over all of these tests."""

    difference: float
    standard_error: float
    p: float
    holm_p: float | None = None


@dataclass(frozen=True, kw_only=True)
class SeedDifference:
    """The difference ``a - b`` of two configurations, paired by seed, by the seeds alone.

    ``statistics.Paired`` says what the tests' fields are.
    """

    a: str
    b: str
    seeds: list[int]
    by_seed: dict[str, float]
    n: int
    mean: float
    sd: float | None
    t_interval: Interval | None
    bootstrap_interval: Interval | None
    effect: float | None
    t_p: float | None
    permutation_p: float
    permutation_floor: float
    detectable: float | None


@dataclass(frozen=True, kw_only=True)
class ComparedPair(SeedDifference):
    """The difference ``a - b`` of two configurations with the error of rows, and its verdict.

    ``users_error``  standard error of the mean over resampled users; None where rows are not known.
    ``interval``     of the mean, with the error of seeds and that of users: 95 %, or at one minus the level of a look;
                     ``p``: two-sided, likewise.
    ``holm_p``       ``p`` adjusted over all comparisons that share the error ``alpha``.
    ``seed_correlation``  of the two configurations' values over the seeds; None with fewer than three.
    """

    seed_correlation: float | None = None
    delong: dict[str, DelongFigures]
    users_error: float | None
    interval: Interval | None
    p: float | None
    holm_p: float | None
    verdict: Verdict


def compare_pairs(
    pairs: Sequence[tuple[str, str]],
    values: Values,
    alpha: float,
    margin: float | None = None,
    rows: RowsOfPairs | None = None,
    confidence: float = 0.95,
) -> list[ComparedPair]:
    """Each pair (a, b) by the differences ``a - b`` over the seeds that both have; all of them share ``alpha``.

    Pairs without a common seed are left out. ``confidence``: of the intervals that are shown.
    """
    pairs = [pair for pair in pairs if common(values, *pair)]
    samples = [_sample(values, *pair) for pair in pairs]
    errors = [None if rows is None else rows.users_error(*pair, common(values, *pair)) for pair in pairs]
    ps = [combined_p(sample, error or 0.0) for sample, error in zip(samples, errors, strict=True)]
    tests = _delong(pairs, values, rows)
    compared = []
    for (a, b), sample, error, p, adjusted in zip(pairs, samples, errors, ps, holm(ps), strict=True):
        seeds = common(values, a, b)
        one = _differences((a, b), values, alpha, len(pairs))
        at_level = _interval(sample, error, 1 - alpha / len(pairs))
        compared.append(
            ComparedPair(
                a=a,
                b=b,
                seeds=seeds,
                by_seed={str(seed): float(difference) for seed, difference in zip(seeds, sample, strict=True)},
                **vars(one.spread),
                effect=one.effect,
                t_p=one.t_p,
                permutation_p=one.permutation_p,
                permutation_floor=one.permutation_floor,
                detectable=one.detectable,
                seed_correlation=correlation([values[a][s] for s in seeds], [values[b][s] for s in seeds]),
                delong=tests[a, b],
                users_error=error,
                interval=_interval(sample, error, confidence),
                p=p,
                holm_p=adjusted,
                verdict=verdict(one.spread.mean, one.spread.n, adjusted, alpha, at_level, margin),
            )
        )
    return compared


def _sample(values: Values, a: str, b: str) -> np.ndarray:
    return np.array([values[a][seed] - values[b][seed] for seed in common(values, a, b)], dtype=float)


def _interval(sample: np.ndarray, users_error: float | None, level: float) -> Interval | None:
    return combined_interval(sample, users_error or 0.0, level) if len(sample) > 1 else None


def common(values: Values, a: str, b: str) -> list[int]:
    """The seeds that both configurations have, in the order of the first."""
    return [seed for seed in values.get(a, {}) if seed in values.get(b, {})]


def correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Pearson's, None for fewer than three pairs or without spread."""
    one, other = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if len(one) < 3 or not varies(one) or not varies(other):
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _differences(pair: tuple[str, str], values: Values, alpha: float, tests: int) -> Paired:
    a, b = pair
    seeds = common(values, a, b)
    rng = np.random.default_rng(stream_seed(0, "report", a, b))
    return paired([values[a][s] for s in seeds], [values[b][s] for s in seeds], rng, alpha, tests)


def _delong(
    pairs: Sequence[tuple[str, str]], values: Values, rows: RowsOfPairs | None
) -> dict[tuple[str, str], dict[str, DelongFigures]]:
    """DeLong's tests of every pair on every seed, their p adjusted over all of them."""
    found = {(a, b): rows.delong(a, b, common(values, a, b)) if rows is not None else {} for a, b in pairs}
    every = [(pair, seed, test) for pair, tests in found.items() for seed, test in tests.items()]
    adjusted = holm([test.p for _, _, test in every])
    figures: dict[tuple[str, str], dict[str, DelongFigures]] = {pair: {} for pair in found}
    for (pair, seed, test), p in zip(every, adjusted, strict=True):
        figures[pair][str(seed)] = DelongFigures(test.auc_a - test.auc_b, test.standard_error, test.p, p)
    return figures
