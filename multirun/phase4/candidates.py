"""Which of a study's points may win, and which one does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError
from mdaf.multirun.analysis.confirmation import Confirmation, confirm, distance
from mdaf.multirun.analysis.report_data.inputs import CandidateInput, Claim
from mdaf.multirun.phase4 import plan
from mdaf.multirun.phase4.design import BALANCED, RUNNER_UP, WINNER, Design
from mdaf.multirun.phase4.known import GROUP, known_point, known_values
from mdaf.multirun.phase4.overrides import overrides_of
from mdaf.multirun.phase4.plan import Series, Winner
from mdaf.multirun.phase4.points import Point, composed, configs, point_hash, with_epochs
from mdaf.sweeper.runs.reader import read_finished_run
from mdaf.sweeper.study.queries import find_trial, trials_of

BY_VALUE = "the highest value of the sweep"
BY_CONFIRMATION = "the mean of its confirmation"
BY_POSTERIOR = "the posterior mean over all runs of the race"


@dataclass(frozen=True)
class Candidate:
    """A point that may win: its trial's value in the sweep, if it has a trial, and its distance from balanced.

    ``expected``  of a point that was raced: the posterior mean over all runs of the study, and its standard deviation.
    """

    point: Point
    sweep_value: float | None
    distance: float
    expected: tuple[float, float] | None = None

    @property
    def is_balanced(self) -> bool:
        """Whether it is the balanced point itself."""
        return self.point.name == BALANCED

    def as_input(self) -> CandidateInput:
        """As ``confirm`` and a report's inputs have it."""
        point = self.point
        return CandidateInput(point.name, point.trial, self.sweep_value, self.distance, list(point.overrides))


@dataclass(frozen=True)
class Named:
    """The winner, how it was named, and the point that is compared with balanced: the winner unless it is balanced."""

    winner: Candidate
    by: str
    challenger: Candidate | None

    def claim(self, point: str) -> Claim:
        """What was said of the winner, which is ``point`` in Phase 4."""
        if self.winner.expected is not None:
            return Claim(self.by, point, *self.winner.expected)
        return Claim(self.by, point, None if self.by == BY_CONFIRMATION else self.winner.sweep_value)


def find_candidates(study: Study, cfg: DictConfig, home: Path) -> list[Candidate]:
    """The study's best trials, the best first, then the balanced point unless it is one of them.

    One of them is another point than balanced, if the study has one.
    """
    top = max(1, cfg.confirm.top)
    trials = plan.best_trials(study, top + 1)
    points = [_trial_point(trial, cfg, home) for trial in trials]
    reference = known_values(BALANCED, study)
    balanced = known_point(BALANCED, points[0], reference)
    same = point_hash(balanced)
    best = find_trial(study, trials[0].number).params
    candidates: list[Candidate] = []
    for trial, point in zip(trials, points, strict=True):
        if len(candidates) == top and not all(candidate.is_balanced for candidate in candidates):
            break
        if point_hash(point) == same:
            point = replace(balanced, trial=trial.number)
        found = find_trial(study, trial.number)
        far = distance(found.params, reference, found.distributions)
        candidates.append(Candidate(point, trial.value, far, trial.expected))
    if cfg.confirm.top and not raced(candidates) and not any(candidate.is_balanced for candidate in candidates):
        others = {key: value for key, value in best.items() if not key.startswith(GROUP)}
        tried = _trial_at(study, others | reference)
        if tried is not None:
            balanced = replace(balanced, trial=tried.number)
        candidates.append(Candidate(balanced, None if tried is None else tried.values[0], 0.0))
    return candidates


def raced(candidates: Sequence[Candidate]) -> bool:
    """Whether the search ran points on several seeds: then it names the winner itself, and nothing is confirmed."""
    return candidates[0].expected is not None


def _trial_at(study: Study, values: Mapping[str, float]) -> FrozenTrial | None:
    """The first complete trial that is exactly there and searched nothing else."""
    complete = trials_of(study, TrialState.COMPLETE)
    return next((trial for trial in complete if dict(trial.params) == dict(values)), None)


def _trial_point(trial: Winner, cfg: DictConfig, home: Path) -> Point:
    name = f"trial-{trial.number}"
    overrides = overrides_of(trial, cfg.overrides, configs())
    return Point(name, with_epochs(overrides, cfg.epochs), home / name, trial.number)


def search_epochs(study: Study, cfg: DictConfig) -> int:
    """The epochs of a run of the study's best trial, as the search planned them."""
    best = plan.best_trials(study, 1)[0]
    return int(composed(overrides_of(best, cfg.overrides, configs())).training.epochs)


def name_winner(candidates: Sequence[Candidate], confirmation: Sequence[Series]) -> Named:
    """The candidate that its confirmed mean names; without confirmation the study's best, of a race by posterior mean.

    UserError where confirmation was planned and no candidate has a run of it.
    """
    if not confirmation:
        others = [candidate for candidate in candidates if not candidate.is_balanced]
        return _named(candidates[0], BY_POSTERIOR if raced(candidates) else BY_VALUE, others)
    found = _confirmed(candidates, confirmation)
    means = {row.name: row.mean for row in found.candidates}
    by_mean = sorted(
        (one for one in candidates if one.point.name in means), key=lambda one: means[one.point.name], reverse=True
    )
    winner = next(candidate for candidate in candidates if candidate.point.name == found.winner)
    return _named(winner, BY_CONFIRMATION, [one for one in by_mean if not one.is_balanced])


def _confirmed(candidates: Sequence[Candidate], confirmation: Sequence[Series]) -> Confirmation:
    values = {
        one.point.name: {seed: float(read_finished_run(folder).best["val_auc"]) for seed, folder in one.done.items()}
        for one in confirmation
    }
    return confirm([candidate.as_input() for candidate in candidates], values, near=BALANCED)


def _named(winner: Candidate, by: str, others: Sequence[Candidate]) -> Named:
    if not winner.is_balanced:
        return Named(winner, by, winner)
    return Named(winner, by, others[0] if others else None)


def points_of(names: Sequence[str], winner: Point, study: Study) -> list[Point]:
    """Phase 4's points by name; a known point that is the winner's own configuration goes by the known name alone."""
    found: dict[str, Point] = {}
    own = point_hash(winner)
    for name in names:
        point = replace(winner, name=WINNER) if name == WINNER else known_point(name, winner, known_values(name, study))
        key = point_hash(point)
        if not (name == WINNER and key in found):
            found[key] = replace(point, trial=winner.trial) if key == own else point
    return list(found.values())


def points_of_design(design: Design, named: Named, study: Study) -> list[Point]:
    """The points that are repeated. Where the winner is balanced itself, the next best is compared with it.

    UserError if the study has no other point.
    """
    if design.plan is None:
        return points_of(design.points, named.winner.point, study)
    if named.challenger is None:
        raise UserError(
            "the study has no other point than balanced, so there is nothing to compare; let it run more trials, or "
            "repeat the known points: design=research"
        )
    names = [WINNER, BALANCED, *design.secondary]
    points = points_of(names, named.challenger.point, study)
    if not named.winner.is_balanced:
        return points
    return [replace(point, name=RUNNER_UP) if point.name == WINNER else point for point in points]


def question_of(points: Sequence[Point], named: Named) -> tuple[Point, Point]:
    """The two points of the question: the challenger, under whichever name it has, and balanced."""
    assert named.challenger is not None
    own = point_hash(named.challenger.point)
    challenger = next(point for point in points if point_hash(point) == own)
    return challenger, next(point for point in points if point.name == BALANCED)
