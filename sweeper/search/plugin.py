"""The Hydra plugin of the Optuna sweeper.

It is small, so Hydra's search for plugins imports neither Optuna nor torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, signature
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mdaf.sweeper.search import presets, settings

presets.store()


class RegularizationSweeper(Sweeper):
    """The sweeper of hydra-optuna-sweeper with the same keys, and with jobs that can attach to their trial.

    A trial's number is its job's number and its folder's name. ``mdaf.sweeper.search.settings`` describes the keys;
    ``mdaf.sweeper.search.sweep`` is the implementation.
    """

    def __init__(self, **keys: Any) -> None:
        from mdaf.messages.reporting import reported_to_other_programs
        from mdaf.sweeper.search.sweep import Search

        self._reported = reported_to_other_programs
        with self._reported():
            given = settings.SweepSettings.of(keys)
            seed = given.sampler.get("seed") if isinstance(given.sampler, DictConfig) else None
            sampler = _created("sampler", given.sampler)
            pruner = _created("pruner", given.pruner)
            self.sweeper = Search(replace(given, sampler=sampler, pruner=pruner), sampler_seed=seed)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        with self._reported():
            self.sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        with self._reported():
            self.sweeper.sweep(arguments)


# Packages that Optuna imports only when one of these classes is used, and what to install: an extra or the package.
NEEDS = {
    "RacingSampler": (("scipy",), "racing"),
    "GPSampler": (("torch", "scipy"), "gp"),
    "QMCSampler": (("scipy",), "scipy"),
    "WilcoxonPruner": (("scipy",), "scipy"),
}


OF_HYDRA = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")  # keys that are no arguments


def _check_needs(name: str, node: Any) -> None:
    """Raises UserError if a sampler or a pruner in this node, or in one inside it, needs a package that is missing."""
    from mdaf.errors import UserError
    from mdaf.extras import install

    if OmegaConf.is_list(node) or isinstance(node, list):
        for inner in node:
            _check_needs(name, inner)
    if not OmegaConf.is_dict(node) and not isinstance(node, dict):
        return
    kind = str(node.get("_target_")).rpartition(".")[2]
    needed, extra = NEEDS.get(kind, ((), ""))
    if absent := [module for module in needed if find_spec(module) is None]:
        raise UserError(
            f"hydra/sweeper/{name}: {kind} needs {' and '.join(absent)}, not installed here: {install(extra)}"
        )
    for inner in node.values():
        _check_needs(name, inner)


def _check_arguments(name: str, node: Any) -> None:
    """Raises UserError for an argument that one of Optuna's own classes does not have."""
    from mdaf.errors import UserError, did_you_mean
    from mdaf.sweeper.hydra_ext.instantiation import LISTS

    target = str(node.get("_target_"))
    if target not in LISTS[name]:
        return
    module, _, kind = target.rpartition(".")
    accepted = signature(getattr(import_module(module), kind)).parameters
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in accepted.values()):
        return
    for key in map(str, node):
        if key not in accepted and key not in OF_HYDRA:
            another = f"choose another {name} with hydra/sweeper/{name}=..., or a class with {name}._target_"
            close = did_you_mean(key, accepted) or f"; expected one of {', '.join(accepted)}"
            said = f"no such argument{close}" if accepted else f"no arguments; {another}"
            raise UserError(f"hydra.sweeper.{name}.{key}: {kind} has {said}")


def _created(name: str, node: Any) -> Any:
    """The sampler or the pruner that a config node describes. Raises UserError if it may not, or cannot, be created."""
    from mdaf.errors import UserError
    from mdaf.sweeper.hydra_ext.instantiation import created

    if node is None:
        return None
    if not isinstance(node, Mapping | DictConfig) or not node.get("_target_"):
        raise UserError(f"hydra/sweeper/{name}: found {node}, expected one of its options, or a mapping with _target_")
    _check_needs(name, node)
    _check_arguments(name, node)
    return created(name, node)
