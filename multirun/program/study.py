"""The study of another program: its objective, its best trials, and the baseline that they are compared with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError, did_you_mean
from mdaf.multirun.program.content import Point
from mdaf.sweeper.hydra_ext.configs.sources import ORIGIN, is_ours
from mdaf.sweeper.hydra_ext.overrides import SIGNS, hydra_value, same
from mdaf.sweeper.search.points.known_points import OutsideError, recorded
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.queries import load_studies, load_study, most_recent_study, trials_of
from mdaf.sweeper.study.winners import raced_points, ranked
from mdaf.sweeper.trials.feasibility import is_feasible
from mdaf.sweeper.trials.user_attrs import CONFIRMS, OBJECTIVE, POINT, RACE_SEEDS
from mdaf.terminal.printable import in_a_line

Space = dict[str, BaseDistribution]


@dataclass(frozen=True)
class Objective:
    """The value that is judged: its name, and its place among the values that a job returns.

    ``directions``  those of all the values; ``names``: their names, None where the study has none.
    """

    name: str
    index: int
    directions: list[str]
    names: list[str] | None

    @property
    def direction(self) -> str:
        """``maximize`` or ``minimize``."""
        return self.directions[self.index]

    @property
    def sign(self) -> int:
        """1 where a greater value is better, else -1."""
        return 1 if self.direction == "maximize" else -1


def open_study(url: str, name: str | None) -> Study:
    """The study to judge: the named one, or the most recently active. UserError if it is this program's own."""
    storage = open_storage(url, create=False, read_only=True)
    study = load_study(storage, name) if name is not None else most_recent_study(load_studies(storage))
    if (of := study.user_attrs.get(CONFIRMS)) is not None:
        raise UserError(f"study {study.study_name} holds the runs of a verdict; expected study={in_a_line(str(of))}")
    origin = study.user_attrs.get(ORIGIN)
    if origin is not None and is_ours(origin):
        raise UserError(f"program: study {study.study_name} is one of this program's own runs; leave program=... away")
    return study


def objective_of(study: Study, wanted: str | None) -> Objective:
    """The objective that is judged. UserError where there are several and none was named, or it isn't there."""
    directions = [direction.name.lower() for direction in study.directions]
    names = _names_of(study, len(directions))
    shown = names or [str(index) for index in range(len(directions))]
    if wanted is None and len(directions) > 1:
        raise UserError(
            f"study {study.study_name} has {len(directions)} objectives, and a verdict is on one of them; "
            f"name it: {' or '.join(f'objective={name}' for name in shown)}"
        )
    if wanted is not None and wanted not in shown:
        raise UserError(
            f"objective: study {study.study_name} has no {in_a_line(wanted)}, expected {' or '.join(shown)}"
        )
    index = 0 if wanted is None else shown.index(wanted)
    return Objective(names[index] if names else "value", index, directions, names)


def _names_of(study: Study, count: int) -> list[str] | None:
    names: Any = study.metric_names
    if names is None:
        try:
            names = json.loads(study.user_attrs.get(OBJECTIVE, "{}"))["names"]
        except (AttributeError, LookupError, TypeError, ValueError):
            names = None
    fits = isinstance(names, list) and len(names) == count and all(isinstance(name, str) for name in names)
    return [in_a_line(name) for name in names] if fits else None


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's parameters by their keys, without signs: a custom search space may suggest ``+key``."""
    return {name.lstrip(SIGNS): value for name, value in trial.params.items()}


def space_of(study: Study) -> Space:
    """The searched parameters with every interval and choice that a trial was drawn from. UserError if there is none.

    Intervals of several sweeps are joined. Steps are left out: only the points of the study are run.
    """
    space: Space = {}
    for trial in trials_of(study):
        for name, found in trial.distributions.items():
            key = name.lstrip(SIGNS)
            space[key] = _joined(space[key], found) if key in space else _joined(found, found)
    if not space:
        raise UserError(f"study {study.study_name}: no trial has a parameter, so there is nothing to compare")
    return space


def _joined(a: BaseDistribution, b: BaseDistribution) -> BaseDistribution:
    if isinstance(a, CategoricalDistribution) or isinstance(b, CategoricalDistribution):
        return b
    assert isinstance(a, FloatDistribution | IntDistribution)
    assert isinstance(b, FloatDistribution | IntDistribution)
    low, high, log = min(a.low, b.low), max(a.high, b.high), a.log and b.log
    if isinstance(a, IntDistribution) and isinstance(b, IntDistribution):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def widened(space: Space, points: Sequence[Point]) -> Space:
    """The space with these points in it: a baseline may lie outside of what was searched."""
    found = dict(space)
    for name, kind in space.items():
        values = [point.params[name] for point in points if name in point.params]
        if isinstance(kind, CategoricalDistribution) or not values:
            continue
        assert isinstance(kind, FloatDistribution | IntDistribution)
        low, high = min([kind.low, *values]), max([kind.high, *values])
        found[name] = type(kind)(low, high, log=kind.log and low > 0)
    return found


# ---- the points


def best_points(study: Study, objective: Objective, top: int) -> list[Point]:
    """The best trials as points, the best first, each configuration once. UserError if no trial has a value.

    Of a race the points by their posterior means, each with the value of its first run.
    """
    complete = trials_of(study, TrialState.COMPLETE)
    able = [trial for trial in complete if is_feasible(trial) and trial.params]
    if not able:
        why = f"none of its {len(complete)} complete trials meets the constraints" if complete else "no trial has one"
        raise UserError(f"study {study.study_name} has no value to start from: {why}; sweep first, then ask again")
    points: list[Point] = []
    by_value = sorted(able, key=lambda trial: (-objective.sign * trial.values[objective.index], trial.number))
    for trial in ranked(study) if raced_points(study) else by_value:
        if any(same(point.params, params_of(trial)) for point in points):
            continue
        points.append(point_of(trial, objective))
    return points[:top]


def point_of(trial: FrozenTrial, objective: Objective, name: str | None = None) -> Point:
    """A trial's point."""
    complete = trial.state is TrialState.COMPLETE and is_feasible(trial)
    value = float(trial.values[objective.index]) if complete else None
    return Point(name or f"trial-{trial.number}", trial.number, value, params_of(trial))


def baseline_of(study: Study, wanted: Any, objective: Objective, space: Space) -> Point:
    """The baseline: a named point of the study, a trial's number, or a mapping; by default the first named point.

    UserError if it isn't there, or is no point of the searched space.
    """
    if OmegaConf.is_config(wanted):
        wanted = OmegaConf.to_container(wanted, resolve=True)
    if isinstance(wanted, Mapping):
        return _typed_baseline(study, wanted, objective, space)
    trials = [trial for trial in trials_of(study) if trial.params]
    names: dict[str, FrozenTrial] = {}
    for trial in trials:
        if isinstance(name := trial.user_attrs.get(POINT), str):
            names.setdefault(name, trial)
    if wanted is None:
        if not names:
            raise UserError(
                f"baseline: study {study.study_name} has no named point to compare with; expected the number of a "
                f"trial, such as baseline={trials[0].number}, or a point: baseline={_example(trials[0])}"
            )
        wanted = next(iter(names))
    if str(wanted) in names:
        return point_of(names[str(wanted)], objective, in_a_line(str(wanted)))
    numbers = {str(trial.number): trial for trial in trials}
    if (number := str(wanted).removeprefix("trial-")) in numbers:
        return point_of(numbers[number], objective)
    known = f"one of {', '.join(map(in_a_line, names))}, " if names else ""
    raise UserError(
        f"baseline: study {study.study_name} has no point {in_a_line(str(wanted))}{did_you_mean(str(wanted), names)}; "
        f"expected {known}the number of a trial, or a point: baseline={_example(trials[0])}"
    )


def _example(trial: FrozenTrial) -> str:
    return f"'{hydra_value(dict(list(params_of(trial).items())[:2]))}'"


def _typed_baseline(study: Study, wanted: Mapping[Any, Any], objective: Objective, space: Space) -> Point:
    typed = dict(_flat(wanted, space))
    always = [name for name in space if all(name in params_of(t) for t in trials_of(study, TrialState.COMPLETE))]
    if unknown := [key for key in typed if key not in space]:
        raise UserError(
            f"baseline: {unknown[0]} was not searched in study {study.study_name}{did_you_mean(unknown[0], space)}; "
            f'expected values of {", ".join(space)}; what all runs have in common belongs into program="..."'
        )
    if lacking := [name for name in always if name not in typed]:
        raise UserError(f"baseline: has no value of {', '.join(lacking)}, expected one for each searched parameter")
    params = {name: _recorded(name, value, space[name]) for name, value in typed.items()}
    tried = next((trial for trial in trials_of(study) if same(params_of(trial), params)), None)
    if tried is not None:
        return point_of(tried, objective, "baseline")
    return Point("baseline", None, None, params)


def _recorded(name: str, value: Any, kind: BaseDistribution) -> Any:
    """A typed value as the study would record it; a number may lie outside of what was searched."""
    if not isinstance(kind, CategoricalDistribution):
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or (isinstance(kind, IntDistribution) and value != int(value)):
            expected = "a whole number" if isinstance(kind, IntDistribution) else "a number"
            raise UserError(f"baseline: {name}: found {value!r}, expected {expected}")
        return int(value) if isinstance(kind, IntDistribution) else float(value)
    try:
        return recorded(kind, value)
    except OutsideError:
        choices = ", ".join(map(str, kind.choices))
        raise UserError(f"baseline: {name}: found {value!r}, expected one of the searched choices: {choices}") from None


def _flat(node: Mapping[Any, Any], space: Space, prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in node.items():
        key = f"{prefix}{name}"
        nested = isinstance(value, Mapping) and key not in space
        found += _flat(value, space, f"{key}.") if nested else [(key, value)]
    return found


# ---- seeds


def check_seeds(cfg: DictConfig, study: Study, space: Space) -> None:
    """UserError for too few seeds of confirmation, one that is there twice, and a space that has the seed in it."""
    key = str(cfg.seed_key).lstrip(SIGNS)
    if key in space:
        raise UserError(
            f"seed_key: study {study.study_name} searched {key} itself, so its points have no seed that could be "
            "fresh; expected another key with seed_key=..., or a sweep without it"
        )
    seeds = list(cfg.confirm.seeds)
    if cfg.confirm.top and (len(seeds) < 2 or len(set(seeds)) != len(seeds)):
        raise UserError(f"confirm.seeds: found {seeds}, expected two seeds or more, each once")


def search_seeds(study: Study, in_config: Any) -> list[int] | None:
    """The seeds of the trials: as the jobs recorded them, else that of the program's config; None: not known."""
    said = {trial.user_attrs.get("seed") for trial in trials_of(study)}
    raced = study.user_attrs.get(RACE_SEEDS)
    known = {seed for seed in (*said, *(raced if isinstance(raced, list) else [])) if isinstance(seed, int)}
    if isinstance(in_config, int) and not isinstance(in_config, bool) and not known:
        known = {in_config}
    return sorted(known) or None
