"""The config groups that every Hydra program gets: ``hydra/sweeper=study``, and pruners as ``hydra/sweeper/pruner``.

Samplers are upstream's options of ``hydra/sweeper/sampler``, which its package stores, and ``racing``. This module
imports no Optuna, because Hydra imports it when it searches for plugins.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, StringNode

from mdaf.sweeper.search import settings

SWEEPER = "mdaf.sweeper.search.plugin.RegularizationSweeper"
UPSTREAM = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"

_PRUNERS: dict[str, dict[str, Any]] = {
    "none": {"_target_": "optuna.pruners.NopPruner"},
    "median": {
        "_target_": "optuna.pruners.MedianPruner",
        "n_startup_trials": 5,
        "n_warmup_steps": 0,
        "interval_steps": 1,
        "n_min_trials": 1,
    },
    "hyperband": {
        "_target_": "optuna.pruners.HyperbandPruner",
        "min_resource": 1,
        "max_resource": "auto",
        "reduction_factor": 3,
        "bootstrap_count": 0,
    },
    "wilcoxon": {"_target_": "optuna.pruners.WilcoxonPruner", "p_threshold": 0.1, "n_startup_steps": 2},
}
_RACING: dict[str, Any] = {
    "_target_": "mdaf.sweeper.racing.sampler.RacingSampler",
    "seeds": list(settings.RACE_SEEDS),  # of the runs: neither of confirmation nor of Phase 4
    "seed_key": "seed",  # of the job's config; +seed adds it
    "start": 9,  # quasi-random points after the known ones, before the model chooses
    "seed": None,
}


class SweeperClass(StringNode):
    """The name of the sweeper's class in ``hydra/sweeper=study``, which reads upstream's name as ours.

    Hydra makes the class that ``hydra.sweeper._target_`` names. Many configs for upstream set that key beside their
    search space. They are merged over the chosen group, so they would put upstream's class back, with our keys.
    """

    def _validate_and_convert_impl(self, value: Any) -> str:
        name = super()._validate_and_convert_impl(value)
        return SWEEPER if name == UPSTREAM else name

    def __deepcopy__(self, memo: dict[int, Any]) -> SweeperClass:  # OmegaConf's own would copy it as a StringNode
        copied = SweeperClass()
        self._deepcopy_impl(copied, memo)
        return copied


def store() -> None:
    """Puts the groups into Hydra's store. Calling it again changes nothing."""
    study = {
        "defaults": [{"sampler": "tpe"}, {"pruner": "none"}],
        "_target_": SweeperClass(SWEEPER),
        **settings.defaults(),
    }
    _store("hydra/sweeper", "study", study)
    _store("hydra/sweeper/sampler", "racing", _RACING)
    for name, arguments in _PRUNERS.items():
        # Another class, with other arguments, may be typed over an option: hydra.sweeper.pruner={_target_: ..., ...}.
        _store("hydra/sweeper/pruner", name, DictConfig(arguments, flags={"struct": False}))


def _store(group: str, name: str, node: dict[str, Any] | DictConfig) -> None:
    # In a launcher's process the option is stored already.
    ConfigStore.instance().store(group=group, name=name, node=node, provider="mdaf-sweep", replace=True)
