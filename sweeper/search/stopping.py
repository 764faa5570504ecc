"""Decides when a sweep ends before all its trials are run: timeout, target, plateau, too many failures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import optuna
from omegaconf import DictConfig
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError
from mdaf.sweeper.search.settings import SweepSettings
from mdaf.sweeper.search.telling.advice import key_for, study_command
from mdaf.sweeper.trials.feasibility import is_feasible
from mdaf.sweeper.trials.user_attrs import DIED, ERROR, WITHDRAWN

FAILURES_A_TRIAL = 2  # without max_failures, this times ``n_trials`` is the limit of all failures
GO_ON = "mended, the same command goes on"
MOST_SHOWN = 5  # failures that the error message names


class TooManyFailuresError(UserError):
    """``max_failures`` trials failed in a row, or ``FAILURES_A_TRIAL`` times as many as the study has trials."""


@dataclass(frozen=True)
class Stopping:
    """The criteria of ``settings`` that end a sweep, which began at ``began`` (unix seconds).

    ``max_failures`` counts failures since then. If it is None, ``FAILURES_A_TRIAL`` times ``n_trials`` failures in all
    end the sweep, so that every sweep ends.
    """

    began: float
    settings: SweepSettings
    config: DictConfig | None = None  # of the program, whose messages name its own keys

    def reason(self, study: optuna.Study, seen: Sequence[FrozenTrial]) -> str | None:
        """Why no further trial must be started, as a sentence; None if one may be.

        ``seen``: the study's trials. Raises TooManyFailuresError.
        """
        trials = sorted(
            (trial for trial in seen if trial.datetime_complete is not None),
            key=lambda trial: (trial.datetime_complete or datetime.min, trial.number),
        )
        self._count_failures(study, trials)
        if self.settings.timeout is not None and time.time() - self.began >= self.settings.timeout:
            return f"the timeout of {self.settings.timeout:g} s is over"
        if len(study.directions) == 1:
            return self._by_value(trials, 1 if study.direction is StudyDirection.MAXIMIZE else -1)
        return None

    def _by_value(self, trials: Sequence[FrozenTrial], sign: int) -> str | None:
        if self.settings.target is None and self.settings.plateau.trials is None:
            return None
        ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        best = _best(ended, sign)
        if best is None:
            return None
        if self.settings.target is not None and best >= sign * self.settings.target:
            return f"a trial reached {sign * best:.6g}, and the target is {self.settings.target:g}"
        if self.settings.plateau.trials is not None and len(ended) > self.settings.plateau.trials:
            before = _best(ended[: -self.settings.plateau.trials], sign)
            if before is not None and best - before <= self.settings.plateau.epsilon:
                improvement = (
                    f"the last {self.settings.plateau.trials} trials improved the best value by {best - before:.3g}"
                )
                return f"{improvement}, not by more than {self.settings.plateau.epsilon:g}"
        return None

    def _count_failures(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        row: list[FrozenTrial] = []
        failed: list[FrozenTrial] = []
        for trial in self._of_this_sweep(trials):
            if trial.state is TrialState.FAIL:
                row.append(trial)
                failed.append(trial)
            else:
                row = []
        key = key_for("max_failures", self.config)
        if self.settings.max_failures is not None and len(row) >= self.settings.max_failures:
            limit = f"{len(row)} trials in a row failed and {key}={self.settings.max_failures:g}"
        elif self.settings.max_failures is None and len(failed) >= FAILURES_A_TRIAL * self.settings.n_trials:
            to_have = f"the study is to have {self.settings.n_trials} ({key}=null)"
            limit = f"{len(failed)} trials failed and {to_have}"
        else:
            return
        reasons = "; ".join(f"trial {t.number}: {t.user_attrs.get(ERROR, 'no reason')}" for t in failed[-MOST_SHOWN:])
        raise TooManyFailuresError(f"{limit}, so the sweep ends: {reasons}{self._how_to_go_on(study, failed[-1])}")

    def _how_to_go_on(self, study: optuna.Study, last: FrozenTrial) -> str:
        name, storage = study.study_name, self.settings.storage
        show, retry = (study_command(words, name, storage) for words in (f"show {last.number}", "retry"))
        if show is None:
            return ""
        return f"; a traceback: {show}; {GO_ON} and tries the known points again, {retry} any other"

    def _of_this_sweep(self, trials: Sequence[FrozenTrial]) -> Iterator[FrozenTrial]:
        """The trials that ended since the sweep began, without those whose process was killed, in their order."""
        since = datetime.fromtimestamp(self.began)
        for trial in trials:
            if trial.datetime_complete is None or trial.datetime_complete < since:
                continue
            if DIED not in trial.user_attrs and WITHDRAWN not in trial.user_attrs:
                yield trial  # a killed process does not show that the next trial would fail


def _best(trials: Sequence[FrozenTrial], sign: int) -> float | None:
    """The best value of complete trials that meet the constraints, times ``sign``, so that greater is better."""
    values = [
        sign * trial.values[0]
        for trial in trials
        if trial.state is TrialState.COMPLETE and trial.values and is_feasible(trial)
    ]
    return max(values, default=None)
