"""The searches that are compared: Optuna's TPE, this project's race, and SMAC3."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.racing import smac
from benchmarks.racing.world import KNOWN, Params, World
from benchmarks.surrogates.bowls import KNOWN_POINTS, SPACE
from mdaf.sweeper.racing.race import Race
from mdaf.sweeper.racing.sampler import RacingSampler
from mdaf.sweeper.search.settings import RACE_SEEDS
from mdaf.sweeper.trials.points.proposals import Proposal
from mdaf.sweeper.trials.points.same_point import point_id
from mdaf.sweeper.trials.user_attrs import POINT, POINT_ID, SEED

TRIALS = 20  # of TPE


def searched_by_tpe(world: World, seed: int) -> list[FrozenTrial]:
    """The known points, then Optuna's TPE, one run each."""
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, multivariate=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for point in KNOWN_POINTS:
        study.enqueue_trial(point)
    for _ in range(TRIALS):
        trial = study.ask(SPACE)
        study.tell(trial, world.run(trial.params, RACE_SEEDS[0]))
    return [trial_of(number, trial.params, RACE_SEEDS[0], trial.value) for number, trial in enumerate(study.trials)]


def raced(world: World, seed: int, runs: int, together: int = 1) -> list[FrozenTrial]:
    """A race, with so many runs at a time."""
    race = Race(RacingSampler(RACE_SEEDS, seed=seed), SPACE, known=KNOWN, maximize=True)
    trials: list[FrozenTrial] = []
    while len(trials) < runs:
        proposed: list[Proposal] = []
        while len(proposed) < together and len(trials) + len(proposed) < runs:
            pending = [pending_of(len(trials) + at, one) for at, one in enumerate(proposed)]
            proposed.append(race.propose(len(trials) + len(proposed), [*trials, *pending]))
        for one in proposed:
            trials.append(trial_of(len(trials), one.point, one.seed, world.run(one.point, one.seed), one.name))
    return trials


def trial_of(
    number: int, params: Params, seed: int, value: float | None, name: str | None = None, **kind: Any
) -> FrozenTrial:
    """A run as a study holds it."""
    attributes = {SEED: seed, POINT_ID: point_id(params)} | ({POINT: name} if name is not None else {})
    trial = create_trial(params=dict(params), distributions=SPACE, value=value, user_attrs=attributes, **kind)
    trial.number = number
    return trial


def pending_of(number: int, proposal: Proposal) -> FrozenTrial:
    return trial_of(number, proposal.point, proposal.seed, None, proposal.name, state=TrialState.RUNNING)


def searched_by_smac(world: World, seed: int, runs: int) -> list[Params]:
    """SMAC3's points, its incumbent first: known points, its initial design, random forest and intensifier."""
    return list(smac.searched(world.run, SPACE, KNOWN_POINTS, runs, seed))
