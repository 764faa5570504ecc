"""Configurations compared in pairs, seed by seed: differences, tests, rows of the same users, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdaf.errors import UserError
from mdaf.multirun.analysis.roc import delong, resampled_aucs, rows_interval, user_weights
from mdaf.multirun.analysis.scores import Scores, read_scores
from mdaf.multirun.analysis.statistics import holm, paired, verdict
from mdaf.streams import stream_seed

Folders = Mapping[str, Mapping[int, Path]]  # configuration -> seed -> folder of its run


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
    folders: Folders,
    alpha: float,
    resamples: int,
) -> list[dict[str, Any]]:
    """A record for each pair (a, b), of the differences ``a - b`` over the seeds that both have.

    ``values``  configuration -> seed -> validation AUC, on which the verdict rests.
    ``test``    the same of the test split, empty where it was not read: reported beside it, no ground for a verdict.
    Pairs without a common seed are left out.
    """
    pairs = [pair for pair in pairs if _common(values, *pair)]
    users = ResampledUsers(resamples)
    records = [_differences(pair, values, alpha, len(pairs)) for pair in pairs]
    adjusted = holm([record["t_p"] for record in records])
    for (a, b), record, p in zip(pairs, records, adjusted, strict=True):
        record |= _on_rows(users, folders[a], folders[b], record["seeds"])
        record["test"] = _on_test(test.get(a, {}), test.get(b, {}))
        record["holm_p"] = p
        interval = record["users_interval"]
        record["verdict"] = verdict(
            record["mean"], record["n"], p, tuple(interval) if interval is not None else None, alpha
        )
    return records


def _common(values: Mapping[str, Mapping[int, float]], a: str, b: str) -> list[int]:
    return [seed for seed in values.get(a, {}) if seed in values.get(b, {})]


def _differences(
    pair: tuple[str, str], values: Mapping[str, Mapping[int, float]], alpha: float, tests: int
) -> dict[str, Any]:
    a, b = pair
    seeds = _common(values, a, b)
    rng = np.random.default_rng(stream_seed(0, "report", a, b))
    found = paired([values[a][s] for s in seeds], [values[b][s] for s in seeds], rng, alpha, tests)
    return {
        "a": a,
        "b": b,
        "seeds": seeds,
        "by_seed": {str(seed): values[a][seed] - values[b][seed] for seed in seeds},
        **found.spread.plain(),
        "effect": found.effect,
        "t_p": found.t_p,
        "permutation_p": found.permutation_p,
        "permutation_floor": found.permutation_floor,
        "detectable": found.detectable,
        "seeds_needed": found.seeds_needed,
    }


def _on_rows(
    users: ResampledUsers, a: Mapping[int, Path], b: Mapping[int, Path], seeds: Sequence[int]
) -> dict[str, Any]:
    """DeLong for each seed, and the interval over resampled users of the mean difference, where scores are there."""
    tests, resampled = {}, []
    for seed in seeds:
        first, second = users.scores(a[seed]), users.scores(b[seed])
        if first is None or second is None:
            continue
        if not (np.array_equal(first.labels, second.labels) and np.array_equal(first.users, second.users)):
            raise UserError(f"{a[seed]} and {b[seed]}: were evaluated on other rows; expected runs on the same data")
        found = delong(first.logits, second.logits, first.labels)
        tests[str(seed)] = {
            "difference": found.auc_a - found.auc_b,
            "standard_error": found.standard_error,
            "p": found.p,
        }
        resampled.append(users.aucs(a[seed]) - users.aucs(b[seed]))
    interval = list(rows_interval(np.mean(resampled, axis=0))) if resampled else None
    return {"delong": tests, "users_interval": interval}


def _on_test(a: Mapping[int, float], b: Mapping[int, float]) -> dict[str, Any] | None:
    seeds = [seed for seed in a if seed in b]
    if not seeds:
        return None
    rng = np.random.default_rng(stream_seed(0, "report", "test"))
    found = paired([a[seed] for seed in seeds], [b[seed] for seed in seeds], rng)
    return {"by_seed": {str(seed): a[seed] - b[seed] for seed in seeds}, **found.spread.plain(), "t_p": found.t_p}
