"""The settings of a sweep: the keys of ``hydra.sweeper``, listed once, each with its meaning and its default.

This module imports no Optuna, since Hydra reads the defaults when it looks for plugins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from omegaconf import OmegaConf

from mdaf.errors import UserError, did_you_mean
from mdaf.sweeper.trials.user_attrs import DEFAULT_MAX_DEATHS

MAPPINGS = ("params", "enqueue", "constraints", "plateau")


@dataclass(frozen=True)
class Plateau:
    """``trials`` without an improvement of the best value by more than ``epsilon`` end the sweep; None: never."""

    trials: int | None = None
    epsilon: float = 0.0


@dataclass(frozen=True)
class SweepSettings:
    """The keys of ``hydra.sweeper``. A config may hold anything, so ``checks.check_settings`` checks each value.

    The keys of hydra-optuna-sweeper, upstream's plugin, where ``n_trials`` counts the study's trials in total:

    ``sampler``              an ``optuna.samplers`` class with its arguments; None: Optuna's default
    ``direction``            ``maximize`` or ``minimize``; with several objectives, one for each
    ``storage``              URL of the study database; None: the study is in memory
    ``study_name``           None: Optuna makes a name
    ``n_trials``             of the study in total, so the same command goes on where it stopped
    ``n_jobs``               trials handed to the launcher at a time
    ``max_failure_rate``     of the jobs of a launch; more failures end the sweep
    ``custom_search_space``  ``package.module.function(config, trial)`` that suggests further parameters
    ``params``               the search space, and fixed values, as overrides

    Our own, each with upstream's behaviour as its default:

    ``enqueue``       name -> point; tried before anything is sampled
    ``pruner``        an ``optuna.pruners`` class with its arguments; jobs that attach to their trial ask it
    ``objectives``    names of what the job returns
    ``constraints``   metric -> greatest allowed value, of the job's last epoch
    ``workers``       processes that this one starts, each asking for its next trial when it is free
    ``max_failures``  so many failures in a row end the sweep; None: twice ``n_trials`` in all; infinity: none do
    ``max_deaths``    after so many deaths of its process a point is not tried again
    ``max_retries``   so often a known point, or a grid's, that failed is tried again by sweeps that go on
    ``timeout``       seconds after which no trial is begun
    ``target``        a value that ends the sweep
    ``plateau``       so many trials without a greater improvement end the sweep
    ``force``         goes on although the study's trials have another objective, space, config or data
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
    force: bool = False

    @staticmethod
    def of(node: Mapping[str, Any]) -> SweepSettings:
        """From the keys of a config. UserError for a key that there is not."""
        given = _known(node, SweepSettings, "hydra.sweeper")
        for key in MAPPINGS:
            if not isinstance(given.get(key), Mapping | None):
                raise UserError(
                    f"hydra.sweeper.{key}: found {given[key]}, expected a mapping of keys to values, or null"
                )
        plateau = Plateau(**_known(given.get("plateau") or {}, Plateau, "hydra.sweeper.plateau"))
        return SweepSettings(**given | {"plateau": plateau})

    @property
    def directions(self) -> list[str]:
        """The direction of each objective."""
        several = self.direction if isinstance(self.direction, list | tuple) else [self.direction]
        return [
            str(getattr(one, "name", one)) for one in several
        ]  # upstream's schema makes them members of an enumeration


def defaults() -> dict[str, Any]:
    """The keys of ``hydra.sweeper`` with their defaults. The sampler is left to its config group."""
    return {name: value for name, value in asdict(SweepSettings()).items() if name != "sampler"}


def _known(node: Mapping[str, Any], kind: Any, where: str) -> dict[str, Any]:
    """The keys of a config node that are fields of a dataclass, as plain values but for what names a class."""
    known = [field.name for field in fields(kind)]
    for key in node:
        if key not in known:
            raise UserError(f"{where}.{key}: there is no such key{did_you_mean(str(key), known)}")
    return {key: value if key in ("sampler", "pruner") else _plain(value) for key, value in node.items()}


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
