"""When a sweep ends before its trials are used up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeper.attributes import DIED, ERROR, WITHDRAWN
from sweeper.errors import UserError
from sweeper.queries import is_feasible


class TooManyFailuresError(UserError):
    """``max_failures`` trials failed one after the other."""


@dataclass(frozen=True)
class Stopping:
    """Each criterion is off where it is None.

    ``timeout``         seconds since ``began`` after which no trial is begun
    ``target``          a value at least as good as this ends the sweep
    ``plateau_trials``  so many trials without an improvement of the best value by more than ``plateau_epsilon``
    ``max_failures``    so many failures in a row, counted from ``began``
    """

    began: float
    timeout: float | None = None
    target: float | None = None
    plateau_trials: int | None = None
    plateau_epsilon: float = 0.0
    max_failures: int | None = None

    def reason(self, study: optuna.Study, seen: Sequence[FrozenTrial]) -> str | None:
        """Why no trial is to be begun after those ``seen``, in words. Raises TooManyFailuresError."""
        trials = sorted(
            (trial for trial in seen if trial.datetime_complete is not None),
            key=lambda trial: (trial.datetime_complete or datetime.min, trial.number),
        )
        self._count_failures(study, trials)
        if self.timeout is not None and time.time() - self.began >= self.timeout:
            return f"the timeout of {self.timeout:g} s is over"
        if len(study.directions) == 1:
            return self._by_value(trials, 1 if study.direction is StudyDirection.MAXIMIZE else -1)
        return None

    def _by_value(self, trials: Sequence[FrozenTrial], sign: int) -> str | None:
        ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        best = _best(ended, sign)
        if best is None:
            return None
        if self.target is not None and best >= sign * self.target:
            return f"a trial reached {sign * best:.6g}, and the target is {self.target:g}"
        if self.plateau_trials is not None and len(ended) > self.plateau_trials:
            before = _best(ended[: -self.plateau_trials], sign)
            if before is not None and best - before <= self.plateau_epsilon:
                gained = f"the last {self.plateau_trials} trials improved the best value by {best - before:.3g}"
                return f"{gained}, not by more than {self.plateau_epsilon:g}"
        return None

    def _count_failures(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        if self.max_failures is None:
            return
        since = datetime.fromtimestamp(self.began)
        row: list[FrozenTrial] = []
        for trial in trials:
            if trial.datetime_complete is None or trial.datetime_complete < since:
                continue
            if DIED in trial.user_attrs or WITHDRAWN in trial.user_attrs:
                continue  # that a process was killed says nothing of the next one
            row = [*row, trial] if trial.state is TrialState.FAIL else []
        if len(row) >= self.max_failures:
            each = "; ".join(f"trial {trial.number}: {trial.user_attrs.get(ERROR, 'no reason')}" for trial in row)
            show = f"python -m sweeper.study show {row[-1].number} --study {study.study_name}"
            limit = f"and sweep.max_failures={self.max_failures}, so the sweep ends"
            raise TooManyFailuresError(f"{len(row)} trials in a row failed {limit}: {each}; a traceback: {show}")


def _best(trials: Sequence[FrozenTrial], sign: int) -> float | None:
    """The best value of complete trials that meet the constraints, times ``sign``: greater is better."""
    values = [
        sign * trial.values[0]
        for trial in trials
        if trial.state is TrialState.COMPLETE and trial.values and is_feasible(trial)
    ]
    return max(values, default=None)
