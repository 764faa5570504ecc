"""When a sweep ends before its trials are used up."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError
from mdaf.sweeper.study.queries import is_feasible
from mdaf.sweeper.trials.user_attrs import DIED, ERROR, WITHDRAWN

FAILURES_A_TRIAL = 2  # without max_failures: so many failures in all for each trial that the study is to have
GO_ON = "mended, the same command goes on and tries the known points again, mdaf-study retry any other"
MOST_SHOWN = 5  # failures that the last line names


class TooManyFailuresError(UserError):
    """``max_failures`` trials failed one after the other, or far more than the sweep has trials."""


@dataclass(frozen=True)
class Stopping:
    """Each criterion is off where it is None.

    ``timeout``         seconds since ``began`` after which no trial is begun
    ``target``          a value at least as good as this ends the sweep
    ``plateau_trials``  so many trials without an improvement of the best value by more than ``plateau_epsilon``
    ``max_failures``    so many failures in a row, counted from ``began``; infinity: however many. Without it
                        ``FAILURES_A_TRIAL`` in all for each of the study's ``n_trials``: a sweep always has an end
    """

    began: float
    timeout: float | None = None
    target: float | None = None
    plateau_trials: int | None = None
    plateau_epsilon: float = 0.0
    max_failures: float | None = None
    n_trials: int | None = None

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
        row: list[FrozenTrial] = []
        failed: list[FrozenTrial] = []
        for trial in self._of_this_sweep(trials):
            if trial.state is TrialState.FAIL:
                row.append(trial)
                failed.append(trial)
            else:
                row = []
        if self.max_failures is not None and len(row) >= self.max_failures:
            limit = f"{len(row)} trials in a row failed and sweep.max_failures={self.max_failures:g}"
        elif self.max_failures is None and len(failed) >= FAILURES_A_TRIAL * (self.n_trials or math.inf):
            limit = f"{len(failed)} trials failed and the study is to have {self.n_trials} (sweep.max_failures=null)"
        else:
            return
        each = "; ".join(f"trial {t.number}: {t.user_attrs.get(ERROR, 'no reason')}" for t in failed[-MOST_SHOWN:])
        show = f"python -m sweeper.study show {failed[-1].number} --study {study.study_name}"
        raise TooManyFailuresError(f"{limit}, so the sweep ends: {each}; a traceback: {show}; {GO_ON}")

    def _of_this_sweep(self, trials: Sequence[FrozenTrial]) -> Iterator[FrozenTrial]:
        """Those that ended since it began, in that order, and of their own."""
        since = datetime.fromtimestamp(self.began)
        for trial in trials:
            if trial.datetime_complete is None or trial.datetime_complete < since:
                continue
            if DIED not in trial.user_attrs and WITHDRAWN not in trial.user_attrs:
                yield trial  # that a process was killed says nothing of the next one


def _best(trials: Sequence[FrozenTrial], sign: int) -> float | None:
    """The best value of complete trials that meet the constraints, times ``sign``: greater is better."""
    values = [
        sign * trial.values[0]
        for trial in trials
        if trial.state is TrialState.COMPLETE and trial.values and is_feasible(trial)
    ]
    return max(values, default=None)
