"""The config groups that every Hydra program gets: ``hydra/sweeper=study``, and pruners as ``hydra/sweeper/pruner``.

Samplers, as ``hydra/sweeper/sampler``, are ``racing`` and those of hydra-optuna-sweeper ("upstream") with its keys and
defaults. Where that package is installed as well, its own options stay. This module imports no Optuna, because Hydra
imports it when it searches for plugins.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig

from mdaf.hydra_internals import CHECKS_TARGETS, ReadText, store_option
from mdaf.sweeper.search import settings

OURS = "mdaf.sweeper.search.plugin.RegularizationSweeper"
# The name by which Hydra finds the class: 1.3 knows classes in its own namespace alone.
SWEEPER = OURS if CHECKS_TARGETS else "hydra_plugins.mdaf_sweeper.Study"
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

_GENETIC: dict[str, Any] = {
    "seed": None,
    "population_size": 50,
    "mutation_prob": None,
    "mutation": None,
    "crossover": None,
    "crossover_prob": 0.9,
    "swapping_prob": 0.5,
    "constraints_func": None,
}
_SAMPLERS: dict[str, dict[str, Any]] = {
    "tpe": {
        "_target_": "optuna.samplers.TPESampler",
        "seed": None,
        "consider_prior": None,
        "prior_weight": None,
        "consider_magic_clip": None,
        "consider_endpoints": None,
        "n_startup_trials": 10,
        "n_ei_candidates": 24,
        "multivariate": False,
        "group": False,
        "warn_independent_sampling": None,
        "constant_liar": False,
        "constraints_func": None,
    },
    "random": {"_target_": "optuna.samplers.RandomSampler", "seed": None},
    "grid": {"_target_": "optuna.samplers.GridSampler", "_partial_": True, "seed": None},
    "cmaes": {
        "_target_": "optuna.samplers.CmaEsSampler",
        "seed": None,
        "x0": None,
        "sigma0": None,
        "n_startup_trials": 1,
        "independent_sampler": None,
        "warn_independent_sampling": True,
        "consider_pruned_trials": False,
        "restart_strategy": None,
        "popsize": None,
        "inc_popsize": -1,
        "use_separable_cma": False,
        "with_margin": False,
        "lr_adapt": False,
        "source_trials": None,
    },
    "nsgaii": {"_target_": "optuna.samplers.NSGAIISampler", **_GENETIC},
    "nsgaiii": {
        "_target_": "mdaf.sweeper.hydra_ext.instantiation.nsgaiii_sampler",
        **_GENETIC,
        "reference_points": None,
        "dividing_parameter": 3,
    },
    "motpe": {"_target_": "mdaf.sweeper.hydra_ext.instantiation.motpe_sampler"},
    "gp": {
        "_target_": "optuna.samplers.GPSampler",
        "seed": None,
        "independent_sampler": None,
        "n_startup_trials": 10,
        "deterministic_objective": False,
        "constraints_func": None,
        "warn_independent_sampling": True,
    },
    "qmc": {
        "_target_": "optuna.samplers.QMCSampler",
        "seed": None,
        "qmc_type": "sobol",
        "scramble": False,
        "independent_sampler": None,
        "warn_asynchronous_seeding": True,
        "warn_independent_sampling": True,
    },
}


class SweeperClass(ReadText):
    """The name of the sweeper's class in ``hydra/sweeper=study``, which reads upstream's name as ours.

    Hydra makes the class that ``hydra.sweeper._target_`` names. Many configs for upstream set that key beside their
    search space. They are merged over the chosen group, so they would put upstream's class back, with our keys.
    """

    def read(self, text: Any) -> Any:
        return SWEEPER if text in (UPSTREAM, OURS) else text


def samplers() -> list[str]:
    """The names of the samplers, whoever declares them; not upstream's motpe, which Optuna no longer has."""
    return ["racing", *(name for name in _SAMPLERS if name != "motpe")]


def store() -> None:
    """Puts the groups into Hydra's store. Calling it again changes nothing."""
    study = {
        "defaults": [{"sampler": "tpe"}, {"pruner": "none"}],
        "_target_": SweeperClass(SWEEPER),
        # Hydra 1.3 would create what the sampler and the pruner name before our class can look at it.
        **({} if CHECKS_TARGETS else {"_recursive_": False}),
        **settings.defaults(),
    }
    store_option("hydra/sweeper", "study", study)
    store_option("hydra/sweeper/sampler", "racing", _RACING)
    for name, arguments in _PRUNERS.items():
        # Another class, with other arguments, may be typed over an option: hydra.sweeper.pruner={_target_: ..., ...}.
        store_option("hydra/sweeper/pruner", name, DictConfig(arguments, flags={"struct": False}))
    if find_spec("hydra_plugins") is not None and find_spec("hydra_plugins.hydra_optuna_sweeper") is not None:
        return
    for name, arguments in _SAMPLERS.items():
        store_option("hydra/sweeper/sampler", name, DictConfig(arguments, flags={"struct": False}))
