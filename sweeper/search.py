"""The Optuna sweeper as Hydra sees it: a thin entry, so that finding the plugin imports neither Optuna nor torch."""

from __future__ import annotations

from typing import Any

from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper
from omegaconf import DictConfig

SAMPLERS = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*")


class RegularizationSweeper(OptunaSweeper):
    """hydra-optuna-sweeper's sweeper, with the same config names, whose jobs know their trial.

    ``n_trials`` counts the study's trials in total, a trial's number is its job's number and its folder's name, and
    ``enqueue`` (name -> point) is tried before anything is sampled. What it does is in ``sweeper._search``.
    """

    def __init__(
        self,
        sampler: Any,
        direction: Any,
        storage: str,
        study_name: str,
        n_trials: int,
        n_jobs: int,
        max_failure_rate: float,
        custom_search_space: str | None,
        params: DictConfig | None,
        enqueue: DictConfig | None = None,
    ) -> None:
        from sweeper._search import Search

        self.sweeper = Search(
            instantiate(sampler, _execution_whitelist_=SAMPLERS),
            direction,
            storage,
            study_name,
            n_trials,
            n_jobs,
            max_failure_rate,
            custom_search_space,
            params,
            enqueue,
        )

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)
