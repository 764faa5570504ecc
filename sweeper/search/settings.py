"""The settings of a sweep: the keys of ``hydra.sweeper``, each with its meaning and its default.

This module imports no Optuna, because Hydra reads the defaults when it searches for plugins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from omegaconf import OmegaConf

from mdaf.errors import UserError, did_you_mean
from mdaf.sweeper.search.former_keys import instead_of
from mdaf.sweeper.trials.user_attrs import DEFAULT_MAX_DEATHS

RACE_SEEDS = (7, 17, 27, 37, 47, 57, 67, 77, 87, 97)  # of `hydra/sweeper/sampler=racing`
MAPPINGS = ("params", "enqueue", "constraints", "plateau")
TEXTS = ("storage", "study_name", "custom_search_space")


@dataclass(frozen=True)
class Plateau:
    """Ends the sweep when it no longer improves.

    ``trials``   the sweep ends after this many trials without an improvement; None: never
    ``epsilon``  a smaller gain than this is no improvement
    """

    trials: int | None = None
    epsilon: float = 0.0


@dataclass(frozen=True)
class SweepSettings:
    """The keys of ``hydra.sweeper``. A config may contain any value, so ``checks.check_settings`` checks each.

    The keys of hydra-optuna-sweeper ("upstream"):

    ``sampler``              a class of ``optuna.samplers`` with its arguments; None: Optuna's default
    ``direction``            ``maximize`` or ``minimize``; with several objectives, one for each
    ``storage``              the URL of the study database; None: the study is in memory
    ``study_name``           the name of the study; None: Optuna makes one up
    ``n_trials``             the total number of the study's trials, so that the same command resumes a sweep
    ``n_jobs``               the number of trials that the launcher gets at a time
    ``max_failure_rate``     the greatest allowed fraction of failures among the jobs of a launch; more end the sweep
    ``custom_search_space``  ``package.module.function(config, trial)`` that suggests further parameters
    ``params``               the search space and fixed values, as overrides

    Keys that upstream does not have, each with upstream's behaviour as its default:

    ``enqueue``       a mapping of names to points, which are tried before anything is sampled
    ``only_enqueued`` whether only these points are tried, each with its own parameters and no sampled ones
    ``pruner``        a class of ``optuna.pruners`` with its arguments; jobs that attach to their trial ask it
    ``objectives``    the names of the values that the job returns
    ``constraints``   a mapping of metrics to their greatest allowed values in the job's last epoch
    ``workers``       the number of processes that this one starts; each asks for its next trial when it is free
    ``max_failures``  the failures in a row that end the sweep; None: twice ``n_trials`` in all; infinity: no limit
    ``max_deaths``    the deaths of its process after which a point is not tried again
    ``max_retries``   how often a resumed sweep tries a failed known point, or a failed point of a grid, again
    ``timeout``       seconds after which no trial is started
    ``target``        a value of the objective that ends the sweep
    ``plateau``       ends the sweep after many trials without an improvement
    ``replace_failed``  whether another trial runs in place of a failed one; if not, a failed trial counts as one of
                      ``n_trials``, as upstream counts it, unless it is retried
    ``tried_points``  what becomes of a trial whose run the study has had: ``take_value``, ``draw_another`` or
                      ``run_again`` (upstream's)
    ``force``         whether to resume a study whose trials have another objective, space, config or data
    """

    sampler: Any = None
    direction: Any = "minimize"
    storage: str | None = None
    study_name: str | None = None
    n_trials: int = 20
    n_jobs: int = 1
    max_failure_rate: float = 0.0
    custom_search_space: str | None = None
    params: Mapping[str, Any] | None = None
    enqueue: Mapping[str, Any] | None = None
    only_enqueued: bool = False
    pruner: Any = None
    objectives: Sequence[str] | None = None
    constraints: Mapping[str, float] | None = None
    workers: int = 1
    max_failures: float | None = None
    max_deaths: float = DEFAULT_MAX_DEATHS
    max_retries: float = 2
    timeout: float | None = None
    target: float | None = None
    plateau: Plateau = Plateau()
    replace_failed: bool = False
    tried_points: str = "take_value"
    force: bool = False

    @staticmethod
    def of(node: Mapping[str, Any]) -> SweepSettings:
        """The settings from the keys of a config. UserError for an unknown key and a wrong type."""
        given = _known(node, SweepSettings, "hydra.sweeper")
        if isinstance(name := given.get("study_name"), int | float):
            given["study_name"] = str(name)  # what was typed without quotes, as for upstream's schema
        for key in MAPPINGS:
            _check_type(given, key, Mapping | None, "a mapping of keys to values, or null")
        for key in TEXTS:
            _check_type(given, key, str | None, "a text, or null")
        _check_type(given, "objectives", list | tuple | None, "a list of names, or null")
        for key in ("force", "only_enqueued", "replace_failed"):
            _check_type(given, key, bool, "true or false")
        plateau = Plateau(**_known(given.get("plateau") or {}, Plateau, "hydra.sweeper.plateau"))
        return SweepSettings(**given | {"plateau": plateau})

    @property
    def prunes(self) -> bool:
        """Whether a pruner is chosen."""
        return self.pruner is not None and type(self.pruner).__name__ != "NopPruner"

    @property
    def directions(self) -> list[str]:
        """The direction of each objective."""
        several = self.direction if isinstance(self.direction, list | tuple) else [self.direction]
        return [str(getattr(one, "name", one)) for one in several]  # in upstream's schema they are an enumeration


def defaults() -> dict[str, Any]:
    """The keys of ``hydra.sweeper`` with their defaults, without those that have a config group of their own."""
    return {name: value for name, value in asdict(SweepSettings()).items() if name not in ("sampler", "pruner")}


def _known(node: Mapping[str, Any], kind: Any, where: str) -> dict[str, Any]:
    """The values of a config node, in plain types except those that name a class. Raises UserError for unknown keys."""
    known = [field.name for field in fields(kind)]
    for key in node:
        if key not in known:
            close = did_you_mean(str(key), known) or f"; expected one of {', '.join(known)}"
            instead = instead_of(str(key), _plain(node[key])) if kind is SweepSettings else None
            raise UserError(f"{where}.{key}: {instead or f'there is no such key{close}'}")
    return {key: value if key in ("sampler", "pruner") else _plain(value) for key, value in node.items()}


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _check_type(given: Mapping[str, Any], key: str, kind: Any, expected: str) -> None:
    if key in given and not isinstance(given[key], kind):
        raise UserError(f"hydra.sweeper.{key}: found {given[key]}, expected {expected}")
