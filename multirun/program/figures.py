"""Every figure of a report on another program's study, from its runs' values: to write a report, and to verify one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError
from mdaf.multirun.analysis.comparisons import compare_pairs
from mdaf.multirun.analysis.confirmation import ConfirmedCandidate, confirm
from mdaf.multirun.analysis.looks.decision import LookPlan, make_looks
from mdaf.multirun.analysis.looks.levels import nominal_level
from mdaf.multirun.analysis.looks.power import detectable_effect, exaggeration
from mdaf.multirun.analysis.statistics import Interval, spread
from mdaf.multirun.program.content import (
    CONFIRMATION,
    PHASE_4,
    Comparison,
    Configuration,
    Confirmation,
    ConfirmedPoint,
    Decision,
    Figures,
    Inputs,
    Looks,
    Point,
    Run,
)
from mdaf.streams import stream_seed
from mdaf.sweeper.hydra_ext.overrides import same
from mdaf.sweeper.study.queries import find_trial

Values = Mapping[str, Mapping[int, float]]  # point -> seed -> value


@dataclass(frozen=True)
class Candidate:
    """A point as ``confirm`` takes it. Its value is turned so that a greater one is better."""

    name: str
    trial: int | None
    sweep_value: float | None
    distance: float


def compute(inputs: Inputs, study: Study, runs_of: Study) -> Figures:
    """Every figure, from the trials that ``inputs`` name. UserError if one is missing, or is not what they say."""
    values = {run.id: value_of(_checked(runs_of, inputs, run), inputs.index) for run in inputs.runs}
    search = {
        point.name: value_of(_trial_of(study, point), inputs.index)
        for point in inputs.points
        if point.trial is not None and point.value is not None
    }
    phase4 = [run for run in inputs.runs if run.stage == PHASE_4]
    decision = _decision(inputs, values)
    return Figures(
        runs=values,
        search=search,
        confirmation=_confirmation(inputs, search, values),
        configurations={
            name: Configuration(
                list(seeds),
                spread([values[run.id] for run in seeds.values()], _rng("configuration", name)),
                [run.id for run in seeds.values()],
            )
            for name, seeds in by_point(phase4).items()
        },
        comparisons=_comparisons(inputs, values, decision),
        decision=decision,
    )


def value_of(trial: FrozenTrial, index: int) -> float:
    """The value of a complete trial. UserError if it has none."""
    if trial.state is not TrialState.COMPLETE or not trial.values:
        raise UserError(f"trial {trial.number}: it is {trial.state.name}, and so has no value, expected COMPLETE")
    return float(trial.values[index])


def _trial_of(study: Study, point: Point) -> FrozenTrial:
    assert point.trial is not None
    trial = find_trial(study, point.trial)
    if not same(trial.params, point.params):
        raise UserError(f"study {study.study_name}, trial {trial.number}: its parameters are not those of {point.name}")
    return trial


def _checked(runs_of: Study, inputs: Inputs, run: Run) -> FrozenTrial:
    """The trial of a run. UserError if it is one of another point or seed."""
    trial = find_trial(runs_of, run.trial)
    [point] = [point for point in inputs.points if point.name == run.point]
    if not same(trial.params, {**point.params, inputs.seed_key: run.seed}):
        raise UserError(
            f"study {runs_of.study_name}, trial {run.trial}: it is another run than {run.id} of the report: "
            "the study was changed, or made anew"
        )
    return trial


def by_point(runs: Sequence[Run]) -> dict[str, dict[int, Run]]:
    """Point -> seed -> its run."""
    found: dict[str, dict[int, Run]] = {}
    for run in runs:
        found.setdefault(run.point, {})[run.seed] = run
    return found


def _rng(*names: str) -> np.random.Generator:
    return np.random.default_rng(stream_seed(0, "report", *names))


def confirmed(
    points: Sequence[Point], distances: Mapping[str, float], values: Values, sign: int, near: str
) -> tuple[list[ConfirmedCandidate], Any]:
    """The candidates on the confirmation seeds, in the objective's own units, and what ``confirm`` says of them.

    The rule of ``confirm`` takes a greater value for the better one, so it is given values times ``sign``.
    """
    candidates = [
        Candidate(point.name, point.trial, None if point.value is None else sign * point.value, distances[point.name])
        for point in points
    ]
    turned = {name: {seed: sign * value for seed, value in seeds.items()} for name, seeds in values.items()}
    found = confirm(candidates, turned, near=near)
    return [_turned(row, sign) for row in found.candidates], found


def _turned(row: ConfirmedCandidate, sign: int) -> ConfirmedCandidate:
    if sign > 0:
        return row
    return replace(
        row,
        sweep_value=None if row.sweep_value is None else -row.sweep_value,
        mean=-row.mean,
        t_interval=_mirrored(row.t_interval),
        bootstrap_interval=_mirrored(row.bootstrap_interval),
    )


def _confirmation(inputs: Inputs, search: Mapping[str, float], values: Mapping[str, float]) -> Confirmation | None:
    runs = by_point([run for run in inputs.runs if run.stage == CONFIRMATION])
    if not runs:
        return None
    points = {point.name: replace(point, value=search.get(point.name)) for point in inputs.points}
    known = {name: {seed: values[run.id] for seed, run in seeds.items()} for name, seeds in runs.items()}
    candidates = [points[name] for name in inputs.candidates]
    rows, found = confirmed(candidates, inputs.distances, known, inputs.sign, inputs.baseline)
    return Confirmation(
        candidates=[ConfirmedPoint(**vars(row), from_=[run.id for run in runs[row.name].values()]) for row in rows],
        noise=found.noise,
        tied=list(found.tied),
        best_mean=found.highest,
        named=found.winner,
        from_=[run.id for seeds in runs.values() for run in seeds.values()],
    )


def _comparisons(inputs: Inputs, values: Mapping[str, float], decision: Decision | None) -> list[Comparison]:
    """Winner against baseline over the seeds that both have; the question's own verdict where there was one."""
    runs = by_point([run for run in inputs.runs if run.stage == PHASE_4])
    turned = {name: {seed: inputs.sign * values[run.id] for seed, run in of.items()} for name, of in runs.items()}
    level = inputs.alpha if decision is None else decision.level
    found = []
    confidence = 0.95 if decision is None else 1 - decision.level
    pairs = [(inputs.winner, inputs.baseline)]
    for pair in compare_pairs(pairs, turned, level, inputs.margin, confidence=confidence):
        ids = [runs[name][seed].id for name in (pair.a, pair.b) for seed in pair.seeds]
        fields = {
            field.name: getattr(pair, field.name) for field in dataclasses.fields(Comparison) if field.name != "from_"
        }
        row = Comparison(**fields, from_=ids)
        found.append(_as_measured(row if decision is None else replace(row, verdict=decision.verdict), inputs.sign))
    return found


def _as_measured(row: Comparison, sign: int) -> Comparison:
    """A comparison of turned values in the objective's own units."""
    if sign > 0:
        return row
    return replace(
        row,
        by_seed={seed: -difference for seed, difference in row.by_seed.items()},
        mean=-row.mean,
        t_interval=_mirrored(row.t_interval),
        interval=_mirrored(row.interval),
        bootstrap_interval=_mirrored(row.bootstrap_interval),
        effect=None if row.effect is None else -row.effect,
    )


def _mirrored(ends: Interval | None) -> Interval | None:
    return None if ends is None else (-ends[1], -ends[0])


def look_plan(looks: Looks, alpha: float, margin: float | None) -> LookPlan:
    """The plan by which a question is looked at."""
    return LookPlan(tuple(looks.planned), alpha, margin, looks.futility)


def leads(winner: Mapping[int, float], baseline: Mapping[int, float], sign: int) -> dict[int, float]:
    """By how much the winner is ahead on each seed that both have, whichever direction is better."""
    return {seed: sign * (value - baseline[seed]) for seed, value in winner.items() if seed in baseline}


def _decision(inputs: Inputs, values: Mapping[str, float]) -> Decision | None:
    if inputs.looks is None:
        return None
    runs = by_point([run for run in inputs.runs if run.stage == PHASE_4])
    winner, baseline = (
        {seed: values[run.id] for seed, run in runs.get(name, {}).items()} for name in (inputs.winner, inputs.baseline)
    )
    plan = look_plan(inputs.looks, inputs.alpha, inputs.margin)
    looks = make_looks(leads(winner, baseline, inputs.sign), inputs.looks.made, plan)
    last, level = looks[-1], nominal_level(plan.looks, plan.alpha)
    effect = detectable_effect(plan.looks, level.level, plan.futility)
    return Decision(
        level=level.level,
        standard_error=level.standard_error,
        looks=looks,
        verdict=last.verdict,
        stop=last.stop,
        from_=[runs[name][seed].id for name in (inputs.winner, inputs.baseline) for seed in last.seeds],
        detectable=effect * last.sd if effect is not None and last.sd else None,
        exaggeration=None if effect is None else exaggeration(effect, plan.looks, level.level, plan.futility),
    )
