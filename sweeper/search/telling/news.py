"""What a sweep tells by alerts while it runs: a new best value, and that trials have begun to fail."""

from __future__ import annotations

from optuna.trial import FrozenTrial, Trial

from mdaf.messages import alerts
from mdaf.messages.reporting import in_one_line
from mdaf.sweeper.study.winners import ranked
from mdaf.sweeper.trials.outcome import Failure, shown
from mdaf.sweeper.trials.points.same_point import point_id_of
from mdaf.sweeper.trials.trials import Trials


class News:
    """Compares a study's best trial with the one before, after each trial of this process."""

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self._best = self._best_now()
        self._failing = False

    def of(self, trial: Trial, failure: Failure | None) -> None:
        """Tells what is new, now that a trial has ended. Of failures in a row only the first one is told."""
        study = self.trials.study
        if failure is not None:
            if not (failure.interrupted or failure.retried or self._failing):
                said = in_one_line(failure.error) or repr(failure.error)
                alerts.tell(alerts.FAILING, f"study {study.study_name}, trial {failure.number} failed: {said}")
                self._failing = True
            return
        self._failing = False
        before, self._best = self._best, self._best_now()
        if before is None or self._best is None or _same_point(before, self._best):
            return
        if _is_of(trial, self._best, study.get_trials(deepcopy=False)):  # else another process tells it
            number, value = self._best.number, self._best.values[0]
            said = f"study {study.study_name}, new best: trial {number}, {value:.6g} with {shown(self._best.params)}"
            alerts.tell(alerts.NEW_BEST, said, study=study.study_name, trial=number, value=value)

    def _best_now(self) -> FrozenTrial | None:
        """The best trial, of a race the first one of the best point; None where several objectives have no best one."""
        if not alerts.wanted(alerts.NEW_BEST) or len(self.trials.study.directions) > 1:
            return None
        return next(iter(ranked(self.trials.study)), None)


def _same_point(one: FrozenTrial, other: FrozenTrial) -> bool:
    return one.number == other.number or point_id_of(one) == point_id_of(other)


def _is_of(trial: Trial, best: FrozenTrial, trials: list[FrozenTrial]) -> bool:
    """Whether a trial that has just ended is a run of the best point."""
    ended = next(one for one in trials if one.number == trial.number)
    return _same_point(ended, best)
