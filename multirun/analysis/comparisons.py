"""Configurations compared in pairs, seed by seed: differences, tests, rows of the same users, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdaf.errors import UserError
from mdaf.multirun.analysis.content import Comparison, DelongFigures, TestComparison
from mdaf.multirun.analysis.roc import delong, resampled_aucs, rows_interval, user_weights
from mdaf.multirun.analysis.scores import Scores, read_scores
from mdaf.multirun.analysis.statistics import Interval, Paired, holm, paired
from mdaf.multirun.analysis.verdict_rule import verdict
from mdaf.streams import stream_seed


class RunOfPoint(NamedTuple):
    """The run of a configuration on one seed: its id in the report, and its folder."""

    id: str
    folder: Path


Runs = Mapping[str, Mapping[int, RunOfPoint]]  # configuration -> seed -> its run


class ResampledUsers:
    """AUCs of runs under the same resamples of users, each computed once."""

    def __init__(self, resamples: int) -> None:
        self._resamples = resamples
        self._weights: np.ndarray | None = None
        self._scores: dict[Path, Scores] = {}
        self._aucs: dict[Path, np.ndarray] = {}

    def scores(self, folder: Path) -> Scores | None:
        """The validation scores of a run, None where none were kept."""
        if folder not in self._scores:
            found = read_scores(folder, "validation")
            if found is None:
                return None
            self._scores[folder] = found
        return self._scores[folder]

    def aucs(self, folder: Path) -> np.ndarray:
        """(resample,) AUCs of a run whose scores are there."""
        if folder not in self._aucs:
            scores = self.scores(folder)
            assert scores is not None
            if self._weights is None:
                rng = np.random.default_rng(stream_seed(0, "report", "users"))
                self._weights = user_weights(scores.users, self._resamples, rng)
            self._aucs[folder] = resampled_aucs(scores.logits, scores.labels, scores.users, self._weights)
        return self._aucs[folder]


def compare_pairs(
    pairs: Sequence[tuple[str, str]],
    values: Mapping[str, Mapping[int, float]],
    test: Mapping[str, Mapping[int, float]],
    runs: Runs,
    alpha: float,
    resamples: int,
) -> list[Comparison]:
    """Each pair (a, b) by the differences ``a - b`` over the seeds that both have.

    ``values``  configuration -> seed -> validation AUC, on which the verdict rests.
    ``test``    the same of the test split, empty where it was not read: reported beside it, no ground for a verdict.
    Pairs without a common seed are left out.
    """
    pairs = [pair for pair in pairs if _common(values, *pair)]
    users = ResampledUsers(resamples)
    found = [_differences(pair, values, alpha, len(pairs)) for pair in pairs]
    adjusted = holm([one.t_p for one in found])
    comparisons = []
    for (a, b), one, p in zip(pairs, found, adjusted, strict=True):
        seeds = _common(values, a, b)
        tests, interval = _on_rows(users, runs[a], runs[b], seeds)
        comparisons.append(
            Comparison(
                a=a,
                b=b,
                seeds=seeds,
                by_seed={str(seed): values[a][seed] - values[b][seed] for seed in seeds},
                **vars(one.spread),
                effect=one.effect,
                t_p=one.t_p,
                permutation_p=one.permutation_p,
                permutation_floor=one.permutation_floor,
                detectable=one.detectable,
                seeds_needed=one.seeds_needed,
                delong=tests,
                users_interval=interval,
                test=_on_test(test.get(a, {}), test.get(b, {})),
                holm_p=p,
                verdict=verdict(one.spread.mean, one.spread.n, p, interval, alpha),
                from_=[runs[point][seed].id for point in (a, b) for seed in seeds],
            )
        )
    return comparisons


def _common(values: Mapping[str, Mapping[int, float]], a: str, b: str) -> list[int]:
    return [seed for seed in values.get(a, {}) if seed in values.get(b, {})]


def _differences(pair: tuple[str, str], values: Mapping[str, Mapping[int, float]], alpha: float, tests: int) -> Paired:
    a, b = pair
    seeds = _common(values, a, b)
    rng = np.random.default_rng(stream_seed(0, "report", a, b))
    return paired([values[a][s] for s in seeds], [values[b][s] for s in seeds], rng, alpha, tests)


def _on_rows(
    users: ResampledUsers, a: Mapping[int, RunOfPoint], b: Mapping[int, RunOfPoint], seeds: Sequence[int]
) -> tuple[dict[str, DelongFigures], Interval | None]:
    """DeLong for each seed, and the interval over resampled users of the mean difference, where scores are there."""
    tests, resampled = {}, []
    for seed in seeds:
        one, other = a[seed].folder, b[seed].folder
        first, second = users.scores(one), users.scores(other)
        if first is None or second is None:
            continue
        if not (np.array_equal(first.labels, second.labels) and np.array_equal(first.users, second.users)):
            raise UserError(f"{one} and {other}: were evaluated on other rows; expected runs on the same data")
        found = delong(first.logits, second.logits, first.labels)
        tests[str(seed)] = DelongFigures(found.auc_a - found.auc_b, found.standard_error, found.p)
        resampled.append(users.aucs(one) - users.aucs(other))
    return tests, rows_interval(np.mean(resampled, axis=0)) if resampled else None


def _on_test(a: Mapping[int, float], b: Mapping[int, float]) -> TestComparison | None:
    seeds = [seed for seed in a if seed in b]
    if not seeds:
        return None
    rng = np.random.default_rng(stream_seed(0, "report", "test"))
    found = paired([a[seed] for seed in seeds], [b[seed] for seed in seeds], rng)
    by_seed = {str(seed): a[seed] - b[seed] for seed in seeds}
    return TestComparison(by_seed=by_seed, **vars(found.spread), t_p=found.t_p)
