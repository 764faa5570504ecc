"""Jobs' configs for less: from that of a job before it where values alone differ, and once where Hydra asks twice.

Hydra finds, reads and merges some thirty files for each job, 70 ms, and what a grid or a sweep changes is in none of
them.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mdaf.sweeper.hydra_ext.overrides import parsed

#: Of a process one thread at a time composes: the tables of Hydra's parser are shared.
_COMPOSING = threading.Lock()
#: Configs that are kept to compose others from; a grid over groups has one for each of their combinations.
KEPT = 16


class ComposedAlike:
    """A config loader that composes a job's config from an earlier one's, where they differ in plain values alone.

    Whatever files a job names, Hydra sets what it overrides besides at the end, one value after the other
    (``ConfigLoaderImpl._apply_overrides_to_config``): on a copy of the earlier config that comes to the same.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._kept: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A job's config, as Hydra's loader composes it; for one thread after the other. Hydra's errors."""
        with _COMPOSING:
            return self._composed(master_config, sweep_overrides)

    def _composed(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        overrides = [parsed(line) for line in sweep_overrides]
        plain = _plain(overrides, set(master_config.hydra.runtime.choices))
        typed = OmegaConf.to_container(master_config.hydra.overrides.hydra)  # as typed, with what is interpolated
        assert isinstance(typed, list)
        kind = tuple(o.key_or_group if o in plain else str(o.input_line) for o in overrides)
        kind += ("for", str(master_config.hydra.job.config_name), *typed)
        if kind in self._kept and (derived := _derived(self._kept[kind], overrides, plain)) is not None:
            OmegaConf.copy_cache(from_config=master_config, to_config=derived)
            return derived
        composed = self._loader.load_sweep_config(master_config, sweep_overrides)
        if plain and not composed.hydra.job.env_copy:  # what that copies may change from job to job
            self._kept[kind] = copy.deepcopy(composed)
            if len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return composed

    @classmethod
    def over(cls, loader: ConfigLoader) -> ComposedAlike:
        """One with ``loader``, or ``loader`` itself if it is one."""
        return loader if isinstance(loader, cls) else cls(loader)

    def __reduce__(self) -> tuple[Any, ...]:  # a job that is sent elsewhere is composed there, once
        return ComposedAlike, (self._loader,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class ComposedOnce:
    """A config loader that keeps what it composes for jobs until a launcher takes it.

    Hydra's own sweeper composes every job to see whether that can be done, drops what it got, and lets the launcher
    compose it again.
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


def _plain(overrides: Sequence[Override], groups: set[str]) -> list[Override]:
    """Those that set one plain value of the config's own, which no other override sets or holds."""
    keys = [o.key_or_group for o in overrides if not (o.key_or_group in groups and isinstance(o.value(), str))]

    def is_plain(override: Override) -> bool:
        key = override.key_or_group
        return (
            override.type is OverrideType.CHANGE
            and override.package is None
            and not override.is_hydra_override()
            and not override.is_sweep_override()
            and not (key in groups or "/" in key or "[" in key)
            and isinstance(override.value(), bool | int | float | str)
            and sum(key == other or key.startswith(f"{other}.") for other in keys) == 1
        )

    return [override for override in overrides if is_plain(override)]


def _derived(kept: DictConfig, overrides: Sequence[Override], plain: Sequence[Override]) -> DictConfig | None:
    """A copy of ``kept`` with other values; None if it does not take one of them, which Hydra can say better."""
    derived = copy.deepcopy(kept)
    try:
        for override in plain:
            OmegaConf.update(derived, override.key_or_group, override.value(), merge=True)
    except OmegaConfBaseException:
        return None
    derived.hydra.overrides.task = [o.input_line for o in overrides if not o.is_hydra_override()]
    return derived
