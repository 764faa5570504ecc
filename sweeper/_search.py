"""The sweep itself: ask the study, hand jobs that know their trial to the launcher, tell the study what came of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_params_from_overrides
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from optuna.distributions import BaseDistribution
from optuna.samplers import GridSampler
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from sweeper.errors import UserError, is_user_error
from sweeper.queries import hydra_value
from sweeper.storage import masked, open_storage

log = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.WARNING)  # the sweep says what happens in its own words

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Search(OptunaSweeperImpl):
    """Upstream's search space and samplers, with a loop of its own."""

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
        enqueue: DictConfig | None,
    ) -> None:
        super().__init__(
            sampler, direction, storage, study_name, n_trials, n_jobs, max_failure_rate, custom_search_space, params
        )
        self.known_points: dict[str, dict[str, Any]] = OmegaConf.to_container(enqueue) if enqueue else {}  # type: ignore[assignment]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra. The study's folder is one for all its sweeps, so that a later one goes on in it."""
        if not any(override.startswith("hydra.sweep.dir=") for override in config.hydra.overrides.hydra):
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.sweep.dir = f"runs/studies/{self.study_name}"
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Runs trials until the study holds ``n_trials`` finished ones."""
        space, fixed = self._space(arguments)
        assert self.storage is not None
        study = self._study(self.storage, space)
        self._enqueue(study, space)
        log.info(
            "study %s in %s: %d of %d trials", study.study_name, masked(self.storage), self._done(study), self.n_trials
        )
        while (left := self.n_trials - self._done(study)) > 0:
            trials = [study.ask() for _ in range(min(left, self.n_jobs))]
            for trial in trials:
                self._suggest(trial, space)
            returns = self._launch(study, trials, fixed)
            failures = [
                failure
                for trial, result in zip(trials, returns, strict=True)
                if (failure := self._tell(study, trial, result)) is not None
            ]
            self._stop_if_failing(failures, len(trials))
        self._report(study)

    def _space(self, arguments: list[str]) -> tuple[dict[str, BaseDistribution], list[str]]:
        """The search space, and the overrides that every job gets as they are.

        What is typed wins over the sweeper's own ``params``: a value fixes a parameter, an interval narrows it.
        """
        typed = {
            override.get_key_element().lstrip("+~") for override in OverridesParser.create().parse_overrides(arguments)
        }
        own = [f"{key!s}={value}" for key, value in (self.params or {}).items() if str(key) not in typed]
        space, _, _ = create_params_from_overrides(own)
        typed_space, fixed, deletions = create_params_from_overrides(arguments)
        space.update({key.lstrip("+"): distribution for key, distribution in typed_space.items()})
        return space, [f"{key}={value}" for key, value in fixed.items()] + deletions

    def _study(self, url: str, space: Mapping[str, BaseDistribution]) -> optuna.Study:
        sampler = self.sampler
        if getattr(sampler, "func", None) is GridSampler:
            grid = {name: self._to_grid_sampler_choices(distribution) for name, distribution in space.items()}
            self.n_trials = min(self.n_trials, math.prod(len(choices) for choices in grid.values()))
            sampler = sampler(grid)
        return optuna.create_study(
            study_name=self.study_name,
            storage=open_storage(url, create=True),
            sampler=sampler,
            directions=[StudyDirection[name.upper()] for name in self._get_directions()],
            load_if_exists=True,
        )

    def _enqueue(self, study: optuna.Study, space: Mapping[str, BaseDistribution]) -> None:
        """Queues the known points that lie in the space; those already there are left alone."""
        for name, point in self.known_points.items():
            inside = {key: value for key, value in point.items() if key in space}
            if not inside:
                continue
            outside = [key for key, value in inside.items() if not space[key]._contains(value)]
            if outside:
                log.info("the point %s lies outside the searched %s and is left out", name, ", ".join(outside))
                continue
            study.enqueue_trial(inside, user_attrs={"point": name}, skip_if_exists=True)

    def _suggest(self, trial: Trial, space: Mapping[str, BaseDistribution]) -> None:
        for name, distribution in space.items():
            trial._suggest(name, distribution)
        if self.custom_search_space_extender:
            assert self.config is not None
            self.custom_search_space_extender(self.config, trial)

    def _launch(self, study: optuna.Study, trials: Sequence[Trial], fixed: Sequence[str]) -> Sequence[JobReturn]:
        """Launches one job a trial; each job's number and folder are its trial's number."""
        assert self.launcher is not None
        jobs = []
        for trial in trials:
            trial.set_user_attr("overrides", list(fixed))
            point = [f"{name}={hydra_value(value)}" for name, value in trial.params.items()]
            place = [f"sweep.study={hydra_value(study.study_name)}", f"sweep.trial={trial.number}"]
            assert self.config is not None
            if self.storage != OmegaConf.select(self.config, "sweep.storage"):
                place.append(f"sweep.storage={hydra_value(self.storage)}")
            jobs.append([*fixed, *point, *place, f"hydra.sweep.dir={hydra_value(self.sweep_dir)}"])
        if self._consecutive(trials):
            return self.launcher.launch(jobs, initial_job_idx=trials[0].number)
        return [
            result
            for trial, job in zip(trials, jobs, strict=True)
            for result in self.launcher.launch([job], initial_job_idx=trial.number)
        ]

    @staticmethod
    def _consecutive(trials: Sequence[Trial]) -> bool:
        """Whether a launcher that counts jobs from the first one's number gives each its trial's number."""
        return [trial.number for trial in trials] == list(range(trials[0].number, trials[0].number + len(trials)))

    def _tell(self, study: optuna.Study, trial: Trial, result: JobReturn) -> Exception | None:
        """Tells the study how a trial ended, and returns what made it fail."""
        try:
            value = result.return_value
            values = [float(v) for v in value] if isinstance(value, Sequence) else [float(value)]
            if any(math.isnan(v) for v in values):
                raise ValueError(f"the objective is {value}")
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
            log.info("trial %d pruned", trial.number)
            return None
        except Exception as error:
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
            study.tell(trial, state=TrialState.FAIL)
            log.warning("trial %d failed: %s: %s", trial.number, type(error).__name__, error)
            return error
        # GridSampler stops the study after its last point, which Optuna refuses outside of Study.optimize; the trial
        # is told by then.
        with suppress(RuntimeError) if isinstance(study.sampler, GridSampler) else nullcontext():
            study.tell(trial, values)
        log.info("trial %d: %s with %s", trial.number, ", ".join(f"{v:.4f}" for v in values), _shown(trial.params))
        return None

    def _stop_if_failing(self, failures: Sequence[Exception], launched: int) -> None:
        """Ends the sweep when too many of a launch failed, or when every trial would fail the same way."""
        for failure in failures:
            if is_user_error(failure):
                raise failure
        if failures and len(failures) / launched > self.max_failure_rate:
            raise failures[0]

    def _done(self, study: optuna.Study) -> int:
        return len(study.get_trials(deepcopy=False, states=FINISHED))

    def _report(self, study: optuna.Study) -> None:
        """optimization_results.yaml, upstream's file, with what is needed to find the winner again."""
        assert self.config is not None
        assert self.storage is not None
        folder = Path(self.config.hydra.sweep.dir)
        results: dict[str, Any] = {"name": "optuna", "study": study.study_name, "storage": masked(self.storage)}
        if len(study.directions) == 1:
            if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                raise UserError(f"study {study.study_name}: no trial completed, so there is no best one")
            best = study.best_trial
            results |= {"best_params": best.params, "best_value": best.value, "best_trial": best.number}
            results |= {"run_dir": best.user_attrs.get("run_dir"), "overrides": best.user_attrs.get("overrides")}
            log.info("best: trial %d, %.4f with %s", best.number, best.value, _shown(best.params))
        else:
            results["solutions"] = [
                {"params": t.params, "values": t.values, "trial": t.number} for t in study.best_trials
            ]
            log.info("Pareto front: trials %s", ", ".join(str(t.number) for t in study.best_trials))
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(OmegaConf.create(results), folder / "optimization_results.yaml")


def _shown(params: Mapping[str, Any]) -> str:
    values = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in params.items()}
    return ", ".join(f"{name.rsplit('.', 1)[-1]} {value}" for name, value in values.items())
