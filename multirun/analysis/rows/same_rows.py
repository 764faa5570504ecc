"""Two models on the same rows of a split: DeLong's test, and the error that the choice of users makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdaf.errors import UserError
from mdaf.multirun.analysis.rows.roc import DeLong, delong, roc_auc
from mdaf.multirun.analysis.rows.scores import Scores, read_scores
from mdaf.streams import stream_seed
from mdaf.sweeper.training.evaluating.resampling import resampled_aucs, resampled_error, user_weights


class RunOfPoint(NamedTuple):
    """The run of a configuration on one seed: its id in the report, and its folder."""

    id: str
    folder: Path


OnSeeds = Mapping[int, RunOfPoint]  # seed -> a configuration's run


class SameRows:
    """The rows of a split as several runs score them. What is computed of a run is computed once."""

    def __init__(self, split: str, resamples: int) -> None:
        self.split = split
        self._resamples = resamples
        self._weights: np.ndarray | None = None
        self._scores: dict[Path, Scores] = {}
        self._aucs: dict[Path, np.ndarray] = {}

    def scores(self, folder: Path) -> Scores | None:
        """The scores of a run, None where none were kept."""
        if folder not in self._scores:
            found = read_scores(folder, self.split)
            if found is None:
                return None
            self._scores[folder] = found
        return self._scores[folder]

    def auc(self, folder: Path) -> float | None:
        """The AUC of a run, None where no scores were kept."""
        scores = self.scores(folder)
        return None if scores is None else roc_auc(scores.logits, scores.labels)

    def resampled(self, folder: Path) -> np.ndarray:
        """(resample,) AUCs of a run whose scores are there, all runs under the same resamples of users."""
        if folder not in self._aucs:
            scores = self.scores(folder)
            assert scores is not None
            if self._weights is None:
                rng = np.random.default_rng(stream_seed(0, "report", "users"))
                self._weights = user_weights(scores.users, self._resamples, rng)
            self._aucs[folder] = resampled_aucs(scores.logits, scores.labels, scores.users, self._weights)
        return self._aucs[folder]

    def delong(self, a: OnSeeds, b: OnSeeds, seeds: Sequence[int]) -> dict[int, DeLong]:
        """DeLong's test for each seed on which both runs have scores. UserError where these are of other rows."""
        found = {}
        for seed in seeds:
            if (scores := self._both(a[seed].folder, b[seed].folder)) is not None:
                found[seed] = delong(scores[0].logits, scores[1].logits, scores[0].labels)
        return found

    def users_error(self, a: OnSeeds, b: OnSeeds, seeds: Sequence[int]) -> float | None:
        """Standard error of the mean difference over the seeds, over resampled users; None without scores."""
        differences = [
            self.resampled(a[seed].folder) - self.resampled(b[seed].folder)
            for seed in seeds
            if self._both(a[seed].folder, b[seed].folder) is not None
        ]
        return resampled_error(np.mean(differences, axis=0)) if differences else None

    def _both(self, one: Path, other: Path) -> tuple[Scores, Scores] | None:
        first, second = self.scores(one), self.scores(other)
        if first is None or second is None:
            return None
        if not (np.array_equal(first.labels, second.labels) and np.array_equal(first.users, second.users)):
            raise UserError(f"{one} and {other}: were evaluated on other rows; expected runs on the same data")
        return first, second
