"""Checks the settings and the search space of a sweep before any work. Each error is one line that names the key."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import NopPruner

from mdaf.errors import DataError, UserError, did_you_mean
from mdaf.naming.config_keys import check_keys
from mdaf.naming.studies import complaint_about
from mdaf.sweeper.hydra_ext.run_config import is_our_schema, validate
from mdaf.sweeper.runs.metric_columns import OBJECTIVES, RANKING, column, is_objective
from mdaf.sweeper.search.points.tried_points import CHOICES
from mdaf.sweeper.search.settings import SweepSettings
from mdaf.sweeper.search.telling.advice import key_for
from mdaf.sweeper.trials.points.space import Space, Wanted, overwritten
from mdaf.terminal.programs import command, program

MOST_PROBES = 24  # choices of a parameter that are checked beforehand; any others are checked by their own job
DIRECTIONS = ("maximize", "minimize")


def check_settings(settings: SweepSettings, config: DictConfig) -> None:
    """Raises UserError for the first setting of a sweep that is not valid."""
    if settings.study_name is not None and (complaint := complaint_about(str(settings.study_name))):
        raise UserError(f"hydra.sweeper.study_name: {complaint}")
    for name in ("n_trials", "n_jobs", "workers"):
        _check(f"hydra.sweeper.{name}", getattr(settings, name), 1, "a whole number from 1", whole=True)
    _check("hydra.sweeper.max_failure_rate", settings.max_failure_rate, 0, "a number in [0, 1]", greatest=1)
    if settings.tried_points not in CHOICES:
        found = f"found {settings.tried_points}{did_you_mean(str(settings.tried_points), CHOICES)}"
        raise UserError(f"hydra.sweeper.tried_points: {found}; expected {', '.join(CHOICES)}")
    key = functools.partial(key_for, config=config)
    _check_bound(key("max_failures"), settings.max_failures, 1, ", or null")
    _check_bound(key("max_deaths"), settings.max_deaths, 1)
    _check_bound(key("max_retries"), settings.max_retries, 0)
    _check(key("timeout"), settings.timeout, 0, "seconds from 0, or null")
    _check(key("target"), settings.target, -math.inf, "a number, or null")
    _check(key("plateau.trials"), settings.plateau.trials, 1, "a whole number from 1, or null", whole=True)
    _check(key("plateau.epsilon"), settings.plateau.epsilon, 0, "a number from 0")
    _check_objectives(settings, config)
    if settings.storage is None and settings.workers > 1:
        raise UserError("hydra.sweeper.storage: found null, but several workers share a database; expected its URL")
    if settings.study_name is None and settings.workers > 1:
        raise UserError("hydra.sweeper.study_name: found null, but several workers share a study; expected its name")
    for name, greatest in (settings.constraints or {}).items():
        _check(f"hydra.sweeper.constraints.{name}", greatest, -math.inf, "the greatest allowed value, a number")
        _check_metric(config, f"hydra.sweeper.constraints.{name}", name)
    if is_our_schema(config):
        validate(_task(config))


def check_space(asked: Wanted, config: DictConfig, hydra_context: HydraContext, place: Sequence[str] = ()) -> None:
    """Composes jobs' configs at both ends of each interval and for each choice, as a job would, and checks them.

    ``place``  overrides that say where a job runs. With them, the first job's config is derived from one of these.

    Raises UserError or Hydra's own error if a key is unknown, or if the space contains a value that a job cannot have.
    """
    if is_our_schema(config) and "seed" in asked.space:
        raise UserError(
            "seed: found a range, expected one number, since a sampler would propose seeds as if one were the best; "
            f"repeat the winner over seeds with {command('multirun')}, or one config with "
            f"{program()} -m seed=1,2,3"
        )
    if is_our_schema(config) and "training.monitor" in asked.space:
        raise UserError(
            "training.monitor: found several values, expected one, since trials would be judged by different metrics; "
            f"compare them with runs beside each other: {program()} -m training.monitor=val_auc,val_loss"
        )
    for point in _probes(asked.space):
        overrides = [*asked.fixed, *asked.overrides_of(point), *asked.own, *place]
        job = hydra_context.config_loader.load_sweep_config(config, overrides)
        if is_our_schema(job):
            try:
                check_keys(job)
                validate(_task(job))
            except (UserError, DataError) as error:
                raise UserError(f"the search space: {error}") from None
        for name in overwritten(_task(job), job.hydra.runtime.choices, point):
            raise UserError(f"{name}: is searched, but another override of this sweep sets it too; take one away")


def _probes(space: Space) -> list[dict[str, Any]]:
    """Points that together contain both ends of each interval, and each choice."""
    most = max((len(d.choices) for d in space.values() if isinstance(d, CategoricalDistribution)), default=0)
    return [
        {name: _limit(distribution, probe) for name, distribution in space.items()}
        for probe in range(min(max(2, most), MOST_PROBES) if space else 0)
    ]


def _limit(distribution: BaseDistribution, probe: int) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[probe % len(distribution.choices)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.high if probe % 2 else distribution.low


def _check_objectives(settings: SweepSettings, config: DictConfig) -> None:
    directions, key = settings.directions, key_for("objectives", config)
    if not directions:
        raise UserError("hydra.sweeper.direction: found [], expected one direction for each objective")
    for direction in directions:
        if direction not in DIRECTIONS:
            raise UserError(f"hydra.sweeper.direction: found {direction}, expected {' or '.join(DIRECTIONS)}")
    several = len(directions) > 1
    ours = is_our_schema(config)
    objectives = settings.objectives or (config.sweep.objectives if ours else None)  # what our own job returns
    if objectives is not None:
        if len(objectives) != len(directions):
            found = f"{_shown(objectives)} for hydra.sweeper.direction={_shown(directions)}"
            raise UserError(f"{key}: found {found}, expected as many metrics as directions")
        for name in objectives:
            if not isinstance(name, str):
                raise UserError(f"{key}: found {name} in it, expected names of metrics")
            _check_metric(config, key, name)
        if ours:
            _check_senses(directions, objectives)
    if several and not isinstance(settings.pruner, NopPruner | None):
        raise UserError(
            "hydra/sweeper/pruner: Optuna prunes by one objective, and there are "
            f"{len(directions)}; expected hydra/sweeper/pruner=none"
        )
    if several and (settings.target is not None or settings.plateau.trials is not None):
        keys = f"{key_for('target', config)} and {key_for('plateau.trials', config)}"
        raise UserError(f"{keys}: expected null where there are several objectives")


def _check_senses(directions: Sequence[str], names: Sequence[str]) -> None:
    """UserError where the worst value of a metric would be called the best, as with ``study``, which minimizes."""
    better = [column(name).higher_is_better for name in names]
    right = [
        given if higher is None else DIRECTIONS[0 if higher else 1]
        for given, higher in zip(directions, better, strict=True)
    ]
    if right != list(directions):
        wrong = next(name for name, given, wanted in zip(names, directions, right, strict=True) if given != wanted)
        found, typed = ("".join(one) if len(one) == 1 else _shown(one) for one in (directions, right))
        raise UserError(
            f"hydra.sweeper.direction: found {found}, which looks for the worst {wrong}; "
            f"type hydra.sweeper.direction={typed}"
        )


def _check_metric(config: DictConfig, key: str, name: str) -> None:
    if is_our_schema(config) and not is_objective(name):
        raise UserError(f"{key}: there is no metric {name}; expected one of {', '.join((*OBJECTIVES, *RANKING))}")


def _task(config: DictConfig) -> DictConfig:
    """A config without Hydra's node, as its job sees it."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _check(
    key: str, value: Any, least: float, expected: str, *, greatest: float = math.inf, whole: bool = False
) -> None:
    if value is None and expected.endswith("null"):
        return
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not least <= value <= greatest:
        raise UserError(f"{key}: found {value}, expected {expected}")


def _check_bound(key: str, value: Any, least: int, other: str = "") -> None:
    """Checks that a value is a whole number from ``least``, infinity, or what ``other`` says."""
    whole = not isinstance(value, float) or value == math.inf
    _check(key, value if whole else str(value), least, f"a whole number from {least}, inf{other}")


def _shown(values: Sequence[str]) -> str:
    return f"[{','.join(map(str, values))}]"
