"""The sweep: its settings and its study, which ``TrialLoop`` works on, here or in several worker processes."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import GridSampler, RandomSampler
from optuna.study import StudyDirection

from mdaf import signals
from mdaf.children import follow_parent
from mdaf.errors import UserError
from mdaf.names import folder_of
from mdaf.sweeper.hydra_ext import eta
from mdaf.sweeper.hydra_ext.config_cache import ComposedAlike
from mdaf.sweeper.hydra_ext.config_sources import write_origin
from mdaf.sweeper.hydra_ext.directories import from_anywhere
from mdaf.sweeper.hydra_ext.optuna_sweeper_internals import UpstreamSweeper
from mdaf.sweeper.runs.reader import check_unfinished
from mdaf.sweeper.search import workers as fleet
from mdaf.sweeper.search.jobs import Jobs
from mdaf.sweeper.search.known_points import known_points
from mdaf.sweeper.search.reseeding import reseed
from mdaf.sweeper.search.results_file import write_results
from mdaf.sweeper.search.settings import check_settings, check_space
from mdaf.sweeper.search.stopping import Stopping
from mdaf.sweeper.search.trial_loop import TrialLoop
from mdaf.sweeper.storage.opening import masked, open_storage
from mdaf.sweeper.storage.optuna_internals import storage_of
from mdaf.sweeper.storage.sqlite_file import settle
from mdaf.sweeper.trials.admitted import STUDIES
from mdaf.sweeper.trials.allocation import Planned
from mdaf.sweeper.trials.compatibility import agree, agree_on_directions
from mdaf.sweeper.trials.retries import DEFAULT_MAX_RETRIES
from mdaf.sweeper.trials.space import Space, Wanted, grid_points, wanted
from mdaf.sweeper.trials.trials import DEFAULT_MAX_DEATHS, Trials

log = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.WARNING)  # the sweep says what happens in its own words


class Search(UpstreamSweeper):
    """Upstream's sweeper, with a loop of its own. Arguments beyond upstream's have upstream's behaviour as default."""

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
        enqueue: Mapping[str, Any] | None = None,
        *,
        sampler_seed: int | None = None,
        pruner: BasePruner | None = None,
        objectives: Sequence[str] | None = None,
        constraints: Mapping[str, float] | None = None,
        workers: int = 1,
        max_failures: float | None = None,
        max_deaths: float = DEFAULT_MAX_DEATHS,
        max_retries: float = DEFAULT_MAX_RETRIES,
        timeout: float | None = None,
        target: float | None = None,
        plateau: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> None:
        super().__init__(sampler, direction, storage, study_name, n_trials, n_jobs, 0.0, None, params)
        self.max_failure_rate = max_failure_rate
        self.custom_search_space = custom_search_space
        self.known_points = _plain(enqueue)
        self.sampler_seed = sampler_seed
        self.pruner = pruner or NopPruner()
        self.objectives = list(objectives) if objectives is not None else None
        self.constraints = _plain(constraints)
        self.workers = workers
        self.max_deaths = max_deaths
        self.max_retries = max_retries
        self.force = force
        plateau = _plain(plateau)
        self.stopping = Stopping(
            time.time(), timeout, target, plateau.get("trials"), plateau.get("epsilon", 0.0), max_failures, n_trials
        )

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra. The study's folder is one for all its sweeps, so that a later one goes on in it."""
        folder = str(OmegaConf.to_container(config.hydra.sweep, resolve=False)["dir"])  # type: ignore[index,call-overload]
        if self.storage is not None and self.study_name is not None and "${now:" in folder:
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.sweep.dir = str(STUDIES / folder_of(self.study_name))
        loader: Any = ComposedAlike.over(hydra_context.config_loader)
        if config.hydra.job.chdir and self.storage is not None:
            self.storage = from_anywhere(self.storage)
        context = replace(hydra_context, config_loader=loader)
        super().setup(hydra_context=context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Runs trials until the study holds ``n_trials`` finished ones, or a criterion ends the sweep."""
        with signals.listening():
            self._sweep(arguments)

    def _sweep(self, arguments: list[str]) -> None:
        if fleet.is_worker():
            follow_parent()
        self.stopping = replace(self.stopping, began=fleet.began())
        check_settings(self)
        if self.custom_search_space:
            self.custom_search_space_extender = instantiate(
                {"_target_": self.custom_search_space, "_partial_": True},
                _execution_whitelist_=(self.custom_search_space,),
            )
        search = wanted(self.params or {}, arguments)
        if not fleet.is_worker():
            check_space(self, search)
        trials = self._trials(search)
        if not fleet.is_worker():
            trials.retry_planned(self.max_retries, self.stopping.began)
        if fleet.is_first():
            eta.expect(eta.Plan(self.n_trials - trials.finished(), self.workers))
        if self.workers > 1 and not fleet.is_worker():
            self._run_workers(trials)
        else:
            self._loop(trials, search).run()
        if not fleet.is_worker():
            try:
                write_results(trials.study, Path(self.sweep_dir), self.storage, self._stopped(trials))
            finally:
                trials.report_missing(must_be_whole=self._is_grid() and self.storage is not None)
        settle(storage_of(trials.study))

    def _run_workers(self, trials: Trials) -> None:
        try:
            fleet.run_workers(min(self.workers, max(1, self.n_trials - trials.finished())))
        except BaseException:
            # A worker that was slow to leave was killed in the end.
            trials.at_the_end(lambda: trials.reap(interrupted=True))
            raise
        trials.reap()  # a worker that was ended between two lines may have left its trial running

    def _loop(self, trials: Trials, search: Wanted) -> TrialLoop:
        assert self.config is not None
        assert self.launcher is not None
        jobs = Jobs(
            self.config,
            self.launcher,
            search,
            folder=self.sweep_dir,
            storage=self.storage,
            study_name=trials.study.study_name,
            extend_space=self.custom_search_space_extender,
        )
        return TrialLoop(trials, jobs, self.stopping, self.n_jobs, self.max_failure_rate)

    def _stopped(self, trials: Trials) -> str | None:
        """Why the sweep ended before its trials were used up."""
        return None if trials.finished() >= self.n_trials else self.stopping.reason(trials.study, trials.seen())

    # ---- the study

    def _trials(self, search: Wanted) -> Trials:
        """The trials of the study, with what is planned for them."""
        study = self._study(search)
        trials = Trials(
            study,
            self.n_trials,
            planned=self._planned(search.space),
            only_planned=self._is_grid(),
            prepare=functools.partial(reseed, study.sampler, self.sampler_seed),
        )
        if not fleet.is_worker():
            trials.bound_deaths(self.max_deaths)
            where = "memory" if self.storage is None else masked(self.storage)
            log.info("study %s in %s: %d of %d trials", study.study_name, where, trials.finished(), self.n_trials)
        return trials

    def _study(self, search: Wanted) -> optuna.Study:
        """The study, new or the one that this sweep goes on with. It is written to only when the sweep is accepted."""
        storage = open_storage(self.storage, create=True) if self.storage is not None else None
        directions = self.direction_names()
        self._planned(search.space, tell=not fleet.is_worker())
        if storage is not None and self.study_name in optuna.get_all_study_names(storage):
            study = optuna.load_study(study_name=self.study_name, storage=storage)
            agree_on_directions(study, directions)
            self._new_attributes(study, search)
            self._check_folder(study)
        else:
            self._check_folder(None)
        study = optuna.create_study(
            study_name=self.study_name,
            storage=storage,
            sampler=RandomSampler() if self._is_grid() else self.sampler,
            pruner=self.pruner,
            directions=[StudyDirection[name.upper()] for name in directions],
            load_if_exists=True,
        )
        agree_on_directions(study, directions)
        for attribute, value in self._new_attributes(study, search).items():
            study.set_user_attr(attribute, value)
        if not fleet.is_worker():
            assert self.config is not None
            write_origin(study, self.config)
        return study

    def _new_attributes(self, study: optuna.Study, search: Wanted) -> dict[str, str]:
        """What this sweep adds to what the study says of all its trials. UserError where the two do not agree."""
        assert self.config is not None
        return agree(study, self.objectives, self.constraints, search.space, self.config, force=self.force)

    def _is_grid(self) -> bool:
        """Whether a grid is searched; its points are planned, since of Optuna's sampler two processes get the same."""
        return getattr(self.sampler, "func", type(self.sampler)) is GridSampler

    def _planned(self, space: Space, *, tell: bool = False) -> Planned:
        """The known points that lie in the space, then those of a grid."""
        assert self.config is not None
        extended = self.custom_search_space_extender is not None
        planned = known_points(self.known_points, space, self.config, extended=extended, tell=tell)
        if self._is_grid():
            planned += [("grid", point) for point in grid_points(space, self.sampler_seed or 0)]
        return planned

    def _check_folder(self, study: optuna.Study | None) -> None:
        """UserError if the study's folder holds runs that are not the study's: they would be overwritten."""
        folder = Path(self.sweep_dir)
        if self.storage is None or not folder.is_dir():
            return
        runs = {int(path.name) for path in folder.iterdir() if path.name.isdigit()}  # before the trials are listed
        numbers = set() if study is None else {trial.number for trial in study.get_trials(deepcopy=False)}
        strange = sorted(runs - numbers)
        for number in strange:
            check_unfinished(folder / str(number))
        if strange and not self.force:
            raise UserError(
                f"{folder / str(strange[0])}: is there, but study {self.study_name} has no trial {strange[0]}: the "
                "folder is another study's; move it away, or choose another one with hydra.sweep.dir=..."
            )


def _plain(node: Mapping[str, Any] | None) -> dict[str, Any]:
    if node is None:
        return {}
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else dict(node)  # type: ignore[return-value]
