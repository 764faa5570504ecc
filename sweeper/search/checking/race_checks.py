"""Checks whether a sweep's settings go with a race over seeds. Each error is one line that names the key."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf
from optuna.pruners import NopPruner

from mdaf.errors import UserError
from mdaf.sweeper.hydra_ext.overrides import SIGNS, key_of
from mdaf.sweeper.racing.sampler import RacingSampler
from mdaf.sweeper.search.settings import SweepSettings
from mdaf.sweeper.trials.points.space import Wanted


def check_race(
    sampler: RacingSampler, settings: SweepSettings, search: Wanted, typed: Sequence[str], config: DictConfig
) -> None:
    """Raises UserError for the first setting that a race cannot have. ``typed``: the overrides of the command line."""
    if len(settings.directions) > 1:
        raise UserError(
            f"hydra/sweeper/sampler=racing: found {len(settings.directions)} objectives, expected one: a race names "
            "the point with the best mean"
        )
    if not isinstance(settings.pruner, NopPruner | None):
        raise UserError(
            "hydra/sweeper/pruner: a race compares whole runs, and a pruned one has no value; expected "
            "hydra/sweeper/pruner=none"
        )
    if settings.only_enqueued:
        raise UserError("hydra/sweeper/sampler=racing: only_enqueued leaves it nothing to choose; omit one of them")
    _check_seed_key(sampler, search, typed, config)


def _check_seed_key(sampler: RacingSampler, search: Wanted, typed: Sequence[str], config: DictConfig) -> None:
    key = sampler.seed_key.lstrip(SIGNS)
    seeds = f"hydra.sweeper.sampler.seeds=[{','.join(map(str, sampler.seeds))}]"
    if key in search.space:
        raise UserError(f"{key}: is searched, but a race sets it for each run; expected {seeds} instead")
    if any(key_of(text) == key for text in typed):
        raise UserError(f"{key}: a race sets it for each run; take it away, and name all seeds of the race: {seeds}")
    if key == sampler.seed_key and OmegaConf.select(config, key, default=...) is ...:
        raise UserError(
            f"hydra.sweeper.sampler.seed_key: the config has no key {key}; expected the key of the job's seed, or "
            f"hydra.sweeper.sampler.seed_key=+{key} to add it"
        )
