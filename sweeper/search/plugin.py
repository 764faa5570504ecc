"""The Optuna sweeper as Hydra sees it: a thin entry, so that finding the plugin imports neither Optuna nor torch."""

from __future__ import annotations

import inspect
from importlib.util import find_spec
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper
from omegaconf import DictConfig, OmegaConf

from mdaf.sweeper.hydra_ext.targets import PRUNERS, SAMPLERS

# `hydra/sweeper=study` in any program: upstream's keys and ours, nothing searched yet.
ConfigStore.instance().store(
    group="hydra/sweeper",
    name="study",
    provider="mdaf-sweep",
    replace=True,  # a launcher's process finds it in the state that it was given, too
    node={
        "defaults": [{"sampler": "tpe"}],
        "_target_": "mdaf.sweeper.search.plugin.RegularizationSweeper",
        "direction": "minimize",
        "storage": None,
        "study_name": None,
        "n_trials": 20,
        "n_jobs": 1,
        "max_failure_rate": 0.0,
        "custom_search_space": None,
        "params": None,
        "enqueue": None,
        "pruner": None,
        "objectives": None,
        "constraints": None,
        "workers": 1,
        "max_failures": None,
        "max_deaths": 5,
        "max_retries": 2,
        "timeout": None,
        "target": None,
        "plateau": {"trials": None, "epsilon": 0.0},
        "force": False,
    },
)


class RegularizationSweeper(OptunaSweeper):
    """hydra-optuna-sweeper's sweeper, with the same config names, whose jobs know their trial.

    ``n_trials`` counts the study's trials in total, and a trial's number is its job's number and its folder's name.
    Beyond upstream's keys, each with upstream's behaviour as its default:

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
    ``plateau``       ``trials`` and ``epsilon``: so many trials without a greater improvement end the sweep
    ``force``         goes on although the study's trials have another objective, space, config or data

    What it does is in ``mdaf.sweeper.search.sweep``.
    """

    def __init__(
        self,
        sampler: Any,
        direction: Any,
        storage: str | None,
        study_name: str | None,
        n_trials: int,
        n_jobs: int,
        max_failure_rate: float,
        custom_search_space: str | None,
        params: DictConfig | None,
        enqueue: DictConfig | None = None,
        pruner: Any = None,
        **further: Any,
    ) -> None:
        from mdaf.errors import UserError, did_you_mean
        from mdaf.sweeper.search.sweep import Search

        known = inspect.signature(Search.__init__).parameters
        for key in further.keys() - known.keys():
            raise UserError(f"hydra.sweeper.{key}: there is no such key{did_you_mean(key, known)}")
        self.sweeper = Search(
            _made("sampler", sampler, SAMPLERS),
            direction,
            storage,
            study_name,
            n_trials,
            n_jobs,
            max_failure_rate,
            custom_search_space,
            params,
            enqueue,
            sampler_seed=sampler.get("seed") if isinstance(sampler, DictConfig) else None,
            pruner=_made("pruner", pruner, PRUNERS) if pruner is not None else None,
            **further,
        )

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)


# Packages that Optuna imports only once one of these is asked, and what to install: an extra, or the package itself.
NEEDS = {
    "GPSampler": (("torch", "scipy"), "gp"),
    "QMCSampler": (("scipy",), "scipy"),
    "WilcoxonPruner": (("scipy",), "scipy"),
}


def _check_needs(name: str, node: Any) -> None:
    """UserError where a package is not installed that a sampler or pruner of this config needs, wrapped ones too."""
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


def _made(name: str, node: Any, may_be_named: tuple[str, ...]) -> Any:
    """The sampler or the pruner that a config node describes. UserError where it refuses its arguments."""
    from mdaf.errors import UserError
    from mdaf.reporting import is_user_error

    _check_needs(name, node)
    try:
        return instantiate(node, _execution_whitelist_=may_be_named)
    except Exception as error:
        if is_user_error(error):
            raise
        raise UserError(f"hydra/sweeper/{name}: {error}") from error
