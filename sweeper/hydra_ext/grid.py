"""The jobs of a grid, such as ``-m seed=1,2,3``: where they run, and whether they can, before any is launched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mdaf.errors import DataError, UserError
from mdaf.hydra_internals import BASIC_SWEEPER, jobs_of_grid
from mdaf.sweeper.hydra_ext.configs.cache import ComposedAlike
from mdaf.sweeper.hydra_ext.overrides import parsed, typed_in
from mdaf.sweeper.hydra_ext.run_config import validate

MOST_NAMED = 4  # refused jobs of a grid


def jobs_of(config: DictConfig) -> list[list[str]]:
    """The overrides of each job of the grid that this config's command asks for; empty if it asks for none."""
    if config.hydra.sweeper._target_ != BASIC_SWEEPER:
        return []
    typed = [*(f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()), *typed_in(config)[1]]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    return jobs_of_grid(parser.parse_overrides(typed))


def check_jobs(config: DictConfig) -> None:
    """Composes every job of a grid and checks its values. UserError if one of them cannot be run, with which.

    What Hydra cannot compose is left to Hydra, and what only a job can resolve to that job.
    """
    jobs = jobs_of(config)
    loader: Any = ComposedAlike.over(GlobalHydra.instance().config_loader())
    refused: dict[str, list[int]] = {}
    for number, overrides in enumerate(jobs):
        with suppress(HydraException, OmegaConfBaseException):
            job = loader.load_sweep_config(config, overrides)
            try:
                validate(OmegaConf.masked_copy(job, [str(name) for name in job if name != "hydra"]))
            except (UserError, DataError) as error:
                refused.setdefault(str(error), []).append(number)
    if refused:
        raise UserError(_in_words(refused, jobs))


def _in_words(refused: Mapping[str, list[int]], jobs: list[list[str]]) -> str:
    """Why most jobs are refused, and which, unless all are for the same reason."""
    [(error, numbers), *others] = sorted(refused.items(), key=lambda one: -len(one[1]))
    if len(numbers) == len(jobs):
        return error
    common = set.intersection(*map(set, jobs))
    shared = set.intersection(*(set(jobs[number]) for number in numbers)) - common
    named = [
        " ".join(override for override in jobs[number] if override in shared or not (shared or override in common))
        for number in (numbers[:1] if shared else numbers[:MOST_NAMED])
    ]
    more = f" and {len(numbers) - MOST_NAMED} more" if len(numbers) > MOST_NAMED and not shared else ""
    also = f", {sum(len(rest) for _, rest in others)} are refused for other reasons" if others else ""
    which = f"found in {len(numbers)} of {len(jobs)} jobs, with {', '.join(named)}{more}"
    return f"{error}; {which}{also}; none was launched"


def folders_of(config: DictConfig) -> Iterator[Path]:
    """The folders of a grid's jobs. A folder is left out if its name is known only once the job is composed."""
    for number, overrides in enumerate(jobs_of(config)):
        with suppress(OmegaConfBaseException):
            job: Any = OmegaConf.create(OmegaConf.to_container(config, resolve=False))
            job.hydra.job.num, job.hydra.job.id = number, str(number)
            for override in map(parsed, overrides):
                chosen = OmegaConf.select(job, override.key_or_group)
                if not (override.is_delete() or OmegaConf.is_config(chosen)):  # a group names no folder
                    OmegaConf.update(job, override.key_or_group, override.value())
            yield Path(str(job.hydra.sweep.dir)) / str(job.hydra.sweep.subdir)
