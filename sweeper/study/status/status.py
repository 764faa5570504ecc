"""What a study says of how far its sweep is."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.storage.late_reads import attribute, holds
from mdaf.sweeper.study import points, queries, winners
from mdaf.sweeper.study.status.pace import Pace, pace_of, seconds_left
from mdaf.sweeper.trials.allocation import ended
from mdaf.sweeper.trials.user_attrs import FAILED_TRIALS, INTERRUPTED, N_TRIALS, WITHDRAWN


@dataclass(frozen=True)
class RunningTrial:
    """A trial that runs: when it began (unix seconds), its last reported epoch, and its best value so far."""

    number: int
    began: float
    epoch: int | None = None
    value: float | None = None


@dataclass(frozen=True)
class Status:
    """How far a sweep is.

    ``target``   how many trials are to end; None: nobody said.
    ``best``     the best trial or point in words; empty before there is one.
    ``point``    its parameters.
    ``at_once``  how many trials run at the same time.
    ``interrupted``  trials that a signal ended, which are no failures: their points are tried again.
    ``ends_by``  when no further trial is begun (unix seconds); None: no such limit.
    """

    study: str
    done: int
    target: int | None
    running: Sequence[RunningTrial] = ()
    best: str = ""
    point: Mapping[str, Any] = field(default_factory=dict)
    pruned: int = 0
    failed: int = 0
    waiting: int = 0
    progress: str = ""
    pace: Pace | None = None
    at_once: int = 1
    ends_by: float | None = None
    interrupted: int = 0

    def seconds_left(self, now: float) -> float | None:
        """The seconds until all trials have ended; None if that is not known."""
        if self.pace is None or self.target is None:
            return None
        waiting = max(0, self.target - self.done - len(self.running))
        passed = [now - one.began for one in self.running]
        if self.ends_by is not None:  # what runs then comes to its end
            rounds = max(0.0, self.ends_by - now) / max(self.pace.seconds, 1e-3)
            waiting = min(waiting, math.ceil(rounds * self.at_once))
        return seconds_left(self.pace, waiting, passed, max(self.at_once, len(self.running)))


class Reader:
    """Reads the status of a study again and again; what takes long is computed only when a trial has ended."""

    def __init__(self, study: Study, *, at_once: int = 1, ends_by: float | None = None) -> None:
        self._study, self._at_once, self._ends_by = study, at_once, ends_by
        self._ended: Counter[int] | None = None
        self._best: tuple[str, Mapping[str, Any]] = ("", {})

    def read(self) -> Status:
        """The status now."""
        study, trials = self._study, queries.trials_of(self._study)
        finished = Counter(trial.number for trial in trials if trial.state.is_finished())
        if finished != self._ended:
            self._ended, self._best = finished, best_of(study)
        running = [_running(study, trial) for trial in trials if trial.state is TrialState.RUNNING]
        failed = [trial for trial in trials if trial.state is TrialState.FAIL and not holds(trial, WITHDRAWN)]
        interrupted = sum(bool(attribute(trial, INTERRUPTED)) for trial in failed)
        replaced = study.user_attrs.get(FAILED_TRIALS) != "count"
        race = winners.is_race(study)
        return Status(
            study=study.study_name,
            done=ended(trials, replace_failed=replaced),
            target=target_of(study),
            running=running,
            best=self._best[0],
            point=self._best[1],
            pruned=sum(trial.state is TrialState.PRUNED for trial in trials),
            failed=len(failed) - interrupted,
            interrupted=interrupted,
            waiting=sum(trial.state is TrialState.WAITING for trial in trials),
            progress=points.progress(study) if race else "",
            pace=pace_of(trials),
            at_once=self._at_once,
            ends_by=self._ends_by,
        )


def target_of(study: Study) -> int | None:
    """How many trials the latest sweep of the study is to reach, as it said itself."""
    said = study.user_attrs.get(N_TRIALS)
    return said if isinstance(said, int) and not isinstance(said, bool) and said > 0 else None


def best_of(study: Study) -> tuple[str, Mapping[str, Any]]:
    """The best trial, or the best point of a race, in words and with its parameters."""
    found = winners.raced_points(study)
    ranked = winners.ranked(study, found)
    if len(study.directions) > 1:
        return (f"{len(ranked)} trials on the Pareto front" if ranked else ""), {}
    if not ranked:
        return "", {}
    best = next((point for point in found if point.feasible), None)
    if best is not None:
        return points.in_words(best), ranked[0].params
    return f"trial {ranked[0].number} with {ranked[0].values[0]:.5g}", ranked[0].params


def value_so_far(study: Study, trial: FrozenTrial) -> float | None:
    """The best value that a running trial has reported."""
    finite = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
    maximize = study.directions[0] == StudyDirection.MAXIMIZE
    return (max if maximize else min)(finite, default=None)


def _running(study: Study, trial: FrozenTrial) -> RunningTrial:
    began = trial.datetime_start or datetime.fromtimestamp(time.time())
    epoch = max(trial.intermediate_values, default=None)
    return RunningTrial(trial.number, began.timestamp(), epoch, value_so_far(study, trial))
