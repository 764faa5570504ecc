"""Configurations compared in pairs, seed by seed: differences, tests, verdicts. Nothing here knows what a run is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mdaf.multirun.analysis.rows.roc import DeLong
from mdaf.multirun.analysis.statistics import Interval, Paired, holm, paired, t_interval, varies
from mdaf.multirun.analysis.verdict_rule import Verdict, verdict
from mdaf.streams import stream_seed

Values = Mapping[str, Mapping[int, float]]  # configuration -> seed -> value, the higher the better


class RowsOfPairs(Protocol):
    """What the rows on which both configurations were evaluated say of their difference."""

    def delong(self, a: str, b: str, seeds: Sequence[int]) -> Mapping[int, DeLong]:
        """DeLong's test of each seed for which there are rows."""

    def interval(self, a: str, b: str, seeds: Sequence[int]) -> Interval | None:
        """The mean difference over resampled users, None without rows."""


@dataclass(frozen=True)
class DelongFigures:
    """DeLong's test of one seed's two runs on the same rows; ``holm_p`` is adjusted over all of these tests."""

    difference: float
    standard_error: float
    p: float
    holm_p: float | None = None


@dataclass(frozen=True, kw_only=True)
class ComparedPair:
    """The difference ``a - b`` of two configurations, paired by seed, and its verdict.

    ``statistics.Paired`` says what the tests' fields are. ``users_interval`` is the interval over resampled users,
    ``holm_p`` the p of the t-test adjusted over all comparisons that share the error ``alpha``.
    ``seed_correlation``  of the two configurations' values over the seeds; None with fewer than three.
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
    seed_correlation: float | None = None
    delong: dict[str, DelongFigures]
    users_interval: Interval | None
    holm_p: float | None
    verdict: Verdict


def compare_pairs(
    pairs: Sequence[tuple[str, str]],
    values: Values,
    alpha: float,
    margin: float | None = None,
    rows: RowsOfPairs | None = None,
) -> list[ComparedPair]:
    """Each pair (a, b) by the differences ``a - b`` over the seeds that both have; all of them share ``alpha``.

    Pairs without a common seed are left out.
    """
    pairs = [pair for pair in pairs if common(values, *pair)]
    found = [_differences(pair, values, alpha, len(pairs)) for pair in pairs]
    adjusted = holm([one.t_p for one in found])
    tests = _delong(pairs, values, rows)
    compared = []
    for (a, b), one, p in zip(pairs, found, adjusted, strict=True):
        seeds = common(values, a, b)
        by_seed = {str(seed): values[a][seed] - values[b][seed] for seed in seeds}
        users = rows.interval(a, b, seeds) if rows is not None else None
        sample = np.array(list(by_seed.values()))
        at_level = t_interval(sample, 1 - alpha / len(pairs)) if len(sample) > 1 else None
        compared.append(
            ComparedPair(
                a=a,
                b=b,
                seeds=seeds,
                by_seed=by_seed,
                **vars(one.spread),
                effect=one.effect,
                t_p=one.t_p,
                permutation_p=one.permutation_p,
                permutation_floor=one.permutation_floor,
                detectable=one.detectable,
                seed_correlation=correlation([values[a][s] for s in seeds], [values[b][s] for s in seeds]),
                delong=tests[a, b],
                users_interval=users,
                holm_p=p,
                verdict=verdict(one.spread.mean, one.spread.n, p, users, alpha, at_level, margin),
            )
        )
    return compared


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
