"""Composes the configs of jobs faster: from an earlier job's config if only values differ, and never twice.

To compose a config, Hydra finds and merges about thirty files, which takes 45 ms. The values that a grid or a
sweep changes are in none of these files. ``mdaf.sweeper.search`` and ``mdaf.multirun.launching`` use both classes.
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

from mdaf.sweeper.hydra_ext.overrides import parsed, typed_in

#: Only one thread of a process may compose at a time, because all threads share the tables of Hydra's parser.
_COMPOSING = threading.Lock()
#: The most configs that are kept for later jobs. A grid over groups has one for each combination of options.
KEPT = 16


class ComposedAlike:
    """A config loader that copies an earlier job's config and changes its values, if only plain values differ.

    The result is the same. Hydra first composes the files, and then sets the overridden values one after the other
    (``ConfigLoaderImpl._apply_overrides_to_config``). This class only does the second step.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._kept: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A job's config, equal to what Hydra's loader composes. Raises Hydra's errors. Threads wait for each other."""
        with _COMPOSING:
            return self._composed(master_config, sweep_overrides)

    def _composed(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        overrides = [parsed(line) for line in sweep_overrides]
        plain = _plain_overrides(overrides, set(master_config.hydra.runtime.choices))
        typed, _ = typed_in(master_config)
        fixed_part = tuple(o.key_or_group if o in plain else str(o.input_line) for o in overrides)
        fixed_part += ("for", str(master_config.hydra.job.config_name), *typed)
        if fixed_part in self._kept and (derived := _derived(self._kept[fixed_part], overrides, plain)) is not None:
            OmegaConf.copy_cache(from_config=master_config, to_config=derived)
            return derived
        composed = self._loader.load_sweep_config(master_config, sweep_overrides)
        if plain and not composed.hydra.job.env_copy:  # a copied environment variable may differ
            self._kept[fixed_part] = copy.deepcopy(composed)
            if len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return composed

    @classmethod
    def over(cls, loader: ConfigLoader) -> ComposedAlike:
        """``loader`` itself if it is such a loader, else a new one that uses it."""
        return loader if isinstance(loader, cls) else cls(loader)

    def __reduce__(self) -> tuple[Any, ...]:  # pickled without the configs: another process composes its job itself
        return ComposedAlike, (self._loader,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class ComposedOnce:
    """A config loader that keeps the composed configs of jobs until a launcher takes them.

    Hydra's own sweeper composes every job's config to check it, discards it, and lets the launcher compose it again.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._composed: dict[tuple[str, ...], list[DictConfig]] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A job's config, composed by Hydra's loader, and kept for ``take``."""
        composed = self._loader.load_sweep_config(master_config, sweep_overrides)
        self._composed.setdefault(tuple(sweep_overrides), []).append(composed)
        return composed

    def take(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        """A job's config for the launcher: the composed one if it was not taken yet, else a new one."""
        if not (kept := self._composed.get(tuple(sweep_overrides))):
            return self._loader.load_sweep_config(master_config, list(sweep_overrides))
        composed = kept.pop()
        OmegaConf.copy_cache(from_config=master_config, to_config=composed)  # as composing it now would do
        return composed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _plain_overrides(overrides: Sequence[Override], groups: set[str]) -> list[Override]:
    """The overrides that change one existing value to a number, a boolean or a string.

    An override is left out if another one sets the same key, or a mapping that contains it.
    """
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
    """A copy of ``kept`` with the values of ``plain``; None if one of them is not valid.

    Hydra's error then says why.
    """
    derived = copy.deepcopy(kept)
    try:
        for override in plain:
            OmegaConf.update(derived, override.key_or_group, override.value(), merge=True)
    except OmegaConfBaseException:
        return None
    derived.hydra.overrides.task = [o.input_line for o in overrides if not o.is_hydra_override()]
    return derived
