"""Jobs of a grid are composed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf


class ComposedOnce:
    """A config loader that keeps what it composes for jobs until a launcher takes it.

    Hydra's own sweeper composes every job to see whether that can be done, drops what it got, and lets the launcher
    compose it again: a seventh of a second for each job.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._composed: dict[tuple[str, ...], list[DictConfig]] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A job's config, as Hydra's loader composes it."""
        composed = self._loader.load_sweep_config(master_config, sweep_overrides)
        self._composed.setdefault(tuple(sweep_overrides), []).append(composed)
        return composed

    def take(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        """A job's config for the one who runs it: the one that was composed before, if nobody has it."""
        if not (kept := self._composed.get(tuple(sweep_overrides))):
            return self._loader.load_sweep_config(master_config, list(sweep_overrides))
        composed = kept.pop()
        OmegaConf.copy_cache(from_config=master_config, to_config=composed)  # as if it were composed now
        return composed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
