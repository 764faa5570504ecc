"""The sweep: it checks its settings, opens the study, and runs ``TrialLoop``, here or in several worker processes."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from optuna.pruners import NopPruner
from optuna.samplers import GridSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import Trial

from mdaf.errors import UserError
from mdaf.hardware import gpus
from mdaf.hydra_internals import changes_directory, compose_fast, created, launch_one_silently
from mdaf.messages import outcome
from mdaf.naming.studies import folder_of
from mdaf.processes import signals
from mdaf.processes.children import PIPE_VARIABLE, follow_parent
from mdaf.sweeper.hydra_ext import eta
from mdaf.sweeper.hydra_ext.configs.cache import ComposedAlike
from mdaf.sweeper.hydra_ext.configs.sources import write_origin
from mdaf.sweeper.hydra_ext.directories import from_anywhere
from mdaf.sweeper.hydra_ext.run_config import is_our_schema
from mdaf.sweeper.racing.sampler import RacingSampler
from mdaf.sweeper.runs.reader import check_unfinished
from mdaf.sweeper.search.checking.checks import check_settings, check_space
from mdaf.sweeper.search.checking.race_checks import check_race
from mdaf.sweeper.search.points.known_points import known_points
from mdaf.sweeper.search.reseeding import reseed
from mdaf.sweeper.search.running import workers as fleet
from mdaf.sweeper.search.running.cluster import runs_elsewhere
from mdaf.sweeper.search.running.jobs import Jobs, place_of_trial
from mdaf.sweeper.search.settings import SweepSettings
from mdaf.sweeper.search.stopping import Stopping
from mdaf.sweeper.search.telling.advice import what_follows
from mdaf.sweeper.search.telling.results_file import write_results
from mdaf.sweeper.search.telling.view import SweepView
from mdaf.sweeper.search.trial_loop import TrialLoop
from mdaf.sweeper.storage.opening import masked, open_storage
from mdaf.sweeper.storage.optuna_internals import storage_of
from mdaf.sweeper.storage.sqlite_file import settle
from mdaf.sweeper.study.status.status import Reader
from mdaf.sweeper.trials.admitted import STUDIES
from mdaf.sweeper.trials.allocation import Planned
from mdaf.sweeper.trials.attaching.attached import TrialTask
from mdaf.sweeper.trials.attaching.link import TrialLink
from mdaf.sweeper.trials.compatibility import agree, agree_on_directions
from mdaf.sweeper.trials.outcome import Objective
from mdaf.sweeper.trials.points.space import Space, Wanted, grid_points, wanted
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import FAILED_TRIALS, N_TRIALS, RACE_RUNS, RACE_SEEDS
from mdaf.terminal import output

if TYPE_CHECKING:
    from mdaf.sweeper.racing.race import Race

log = logging.getLogger(__name__)
_FAILED = {False: "count", True: "replaced"}  # of the study's attribute
optuna.logging.set_verbosity(optuna.logging.WARNING)  # the sweep logs its own messages


class Search:
    """The sweep that the plugin runs.

    ``settings``      from the config; its ``sampler`` and ``pruner`` are objects here.
    ``sampler_seed``  the seed from which the sampler is seeded again for each trial.
    """

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher
    sweep_dir: str

    def __init__(self, settings: SweepSettings, *, sampler_seed: int | None = None) -> None:
        self.settings = settings
        self.sampler_seed = sampler_seed
        self.extend_space: Callable[[DictConfig, Trial], None] | None = None  # imported when the sweep begins
        self.stopping = Stopping(fleet.began(), settings)
        self.task: TrialTask | None = None  # another program's task, which is told its trial

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra. All sweeps of a study use the same folder, so that a later one can resume there."""
        compose_fast()
        launch_one_silently()
        storage, study_name = self.settings.storage, self.settings.study_name
        folder = str(OmegaConf.to_container(config.hydra.sweep, resolve=False)["dir"])  # type: ignore[index,call-overload]
        if storage is not None and study_name is not None and "${now:" in folder:
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.sweep.dir = str(STUDIES / folder_of(study_name))
        if changes_directory(config) and storage is not None:
            self.settings = replace(self.settings, storage=from_anywhere(storage))
        loader: Any = ComposedAlike.over(hydra_context.config_loader)
        self.hydra_context = replace(hydra_context, config_loader=loader)
        self.config = config
        if not is_our_schema(config):  # this program's own jobs have keys for it
            task_function = self.task = TrialTask(task_function, self.settings.storage)
        self.launcher = Plugins.instance().instantiate_launcher(self.hydra_context, task_function, config)
        self.sweep_dir = config.hydra.sweep.dir

    def sweep(self, arguments: list[str]) -> None:
        """Runs trials until the study has ``n_trials`` finished ones, or a criterion ends the sweep. Hydra calls it."""
        with signals.listening():
            self._sweep(arguments)

    def _sweep(self, arguments: list[str]) -> None:
        if fleet.is_worker() or PIPE_VARIABLE in os.environ:
            follow_parent()
            output.make_safe()  # where the parent is killed first, what a job prints is no failure of the job
        settings = self.settings
        self.stopping = Stopping(fleet.began(), settings, self.config)
        check_settings(settings, self.config)
        if settings.storage is None and settings.prunes and runs_elsewhere(self.launcher):
            raise UserError(
                "hydra.sweeper.storage: found null, but this launcher runs jobs in other processes, where a pruner "
                "cannot be asked without a database; add hydra.sweeper.storage=sqlite:///studies.db"
            )
        if settings.custom_search_space:
            named = {"_target_": settings.custom_search_space, "_partial_": True}
            self.extend_space = created(named, [settings.custom_search_space])
        search = wanted(settings.params or {}, arguments, ours=is_our_schema(self.config))
        seeds: list[str] = []  # of the probes, which are checked as jobs
        if (sampler := self._racing) is not None:
            check_race(sampler, settings, search, arguments, self.config)
            search = replace(search, fixed=sampler.without_seed(search.fixed))
            seeds = [sampler.override(sampler.seeds[0])]
        if not fleet.is_worker():
            checked = replace(search, fixed=[*search.fixed, *seeds])
            check_space(checked, self.config, self.hydra_context, self._place_of_first())
        trials = self._trials(search)
        if not fleet.is_worker():
            trials.retry_planned(settings.max_retries, self.stopping.began)
        if fleet.is_first():
            eta.expect(eta.Plan(settings.n_trials - trials.finished(), settings.workers))
        with self._view(trials):
            if settings.workers > 1 and not fleet.is_worker():
                self._run_workers(trials)
            else:
                self._loop(trials, search).run()
        if not fleet.is_worker():
            try:
                write_results(trials.study, Path(self.sweep_dir), settings.storage, self._stopped(trials))
            finally:
                whole = self._is_grid() and settings.replace_failed and settings.storage is not None
                trials.report_missing(must_be_whole=whole)
            for line in what_follows(trials.study, settings.storage, self.config, settings.objectives or ()):
                log.info("%s", line)
        settle(storage_of(trials.study))

    def _place_of_first(self) -> list[str]:
        settings = self.settings
        return place_of_trial(self.config, self.sweep_dir, settings.storage, settings.study_name or "new", 0)

    def _view(self, trials: Trials) -> SweepView:
        """The status block on the terminal."""
        settings = self.settings
        ends_by = None if settings.timeout is None else self.stopping.began + settings.timeout
        reader = Reader(trials.study, at_once=max(settings.workers, settings.n_jobs), ends_by=ends_by)
        elsewhere = runs_elsewhere(self.launcher)
        held = None if settings.workers > 1 else trials.leases.held
        return SweepView(reader, trials.study, held=held, jobs_elsewhere=elsewhere)

    def _run_workers(self, trials: Trials) -> None:
        try:
            count = min(self.settings.workers, max(1, self.settings.n_trials - trials.finished()))
            fleet.run_workers(count, self._gpus(count))
        except BaseException:
            # A worker that did not end in time was killed, and its trial may still be running.
            trials.at_the_end(lambda: trials.reap(interrupted=True))
            raise
        trials.reap()  # a worker that was ended abruptly may have left its trial running

    def _gpus(self, count: int) -> list[str]:
        """The GPUs that workers share. Another program's job gets a single one: it may take whatever it sees."""
        if is_our_schema(self.config):
            return gpus.chosen(self.config.device.gpus)
        return gpus.visible()[:count]

    def _loop(self, trials: Trials, search: Wanted) -> TrialLoop:
        jobs = Jobs(
            self.config,
            self.launcher,
            search,
            folder=self.sweep_dir,
            storage=self.settings.storage,
            study_name=trials.study.study_name,
            extend_space=self.extend_space,
            only_enqueued=self.settings.only_enqueued,
            race=self._race(search.space),
        )
        settings = self.settings
        return TrialLoop(trials, jobs, self.stopping, settings.n_jobs, settings.max_failure_rate, settings.tried_points)

    def _stopped(self, trials: Trials) -> str | None:
        """Why the sweep ended before all its trials were run; None if they were."""
        if trials.finished() >= self.settings.n_trials:
            return None
        return self.stopping.reason(trials.study, trials.seen())

    # ---- the study

    def _trials(self, search: Wanted) -> Trials:
        """The trials of the study, and the points that are planned for them."""
        settings = self.settings
        study = self._study(search)
        trials = Trials(
            study,
            settings.n_trials,
            planned=self._planned(search.space),
            only_planned=self._only_planned,
            replace_failed=settings.replace_failed,
            objective=Objective(settings.objectives, settings.constraints or {}),
            prepare=functools.partial(reseed, study.sampler, self.sampler_seed),
            race=self._race(search.space),
        )
        if not fleet.is_worker():
            trials.bound_deaths(settings.max_deaths)
            kept = "hydra.sweeper.storage=sqlite:///runs/studies.db keeps it"
            where = f"memory alone ({kept})" if settings.storage is None else masked(settings.storage)
            outcome.note(study=study.study_name, storage=settings.storage, folder=self.sweep_dir)
            log.info("study %s in %s: %d of %d trials", study.study_name, where, trials.finished(), settings.n_trials)
        return trials

    def _study(self, search: Wanted) -> optuna.Study:
        """The study: a new one, or an existing one if it fits this sweep. It is written to only after all checks."""
        settings = self.settings
        storage = open_storage(settings.storage, create=True) if settings.storage is not None else None
        directions = settings.directions
        self._planned(search.space, tell=not fleet.is_worker())
        if storage is not None and settings.study_name in optuna.get_all_study_names(storage):
            study = optuna.load_study(study_name=settings.study_name, storage=storage)
            agree_on_directions(study, directions)
            self._new_attributes(study, search)
            self._check_folder(study)
        else:
            self._check_folder(None)
        study = optuna.create_study(
            study_name=settings.study_name,
            storage=storage,
            sampler=RandomSampler() if self._only_planned else settings.sampler,
            pruner=settings.pruner or NopPruner(),
            directions=[StudyDirection[name.upper()] for name in directions],
            load_if_exists=True,
        )
        if self.task is not None:
            self.task.study_name = study.study_name
        if storage is None:
            TrialLink.keep_in_memory(study)
        agree_on_directions(study, directions)
        for attribute, value in self._new_attributes(study, search).items():
            study.set_user_attr(attribute, value)
        if not fleet.is_worker():
            write_origin(study, self.config, self.hydra_context.config_loader)
        return study

    def _new_attributes(self, study: optuna.Study, search: Wanted) -> dict[str, Any]:
        """The attributes of the study that this sweep adds. Raises UserError if the sweep contradicts existing ones."""
        settings = self.settings
        constraints = dict(settings.constraints or {})
        race = self._racing
        told: dict[str, Any] = {
            N_TRIALS: self._most_trials(search.space),
            FAILED_TRIALS: _FAILED[settings.replace_failed],
        }
        if race is not None:
            told |= {RACE_SEEDS: list(race.seeds), RACE_RUNS: settings.n_trials}
        return {
            **agree(study, settings.objectives, constraints, search.space, self.config, force=settings.force),
            **{name: value for name, value in told.items() if study.user_attrs.get(name) != value},
        }

    def _most_trials(self, space: Space) -> int:
        """How many trials the study is to have in the end: no more than there are points, if no other ones are run."""
        n_trials = self.settings.n_trials
        return min(n_trials, len(self._planned(space))) if self._only_planned else n_trials

    @property
    def _only_planned(self) -> bool:
        return self._is_grid() or self.settings.only_enqueued

    @property
    def _racing(self) -> RacingSampler | None:
        """The sampler, if it races seeds."""
        return self.settings.sampler if isinstance(self.settings.sampler, RacingSampler) else None

    def _race(self, space: Space) -> Race | None:
        if self._racing is None:
            return None
        from mdaf.sweeper.racing.race import Race

        maximize = self.settings.directions == ["maximize"]
        conditional = self.extend_space is not None
        return Race(self._racing, space, known=self._planned(space), maximize=maximize, conditional=conditional)

    def _is_grid(self) -> bool:
        """Whether a grid is searched.

        Its points are planned: with Optuna's sampler two processes may get the same one.
        """
        return getattr(self.settings.sampler, "func", type(self.settings.sampler)) is GridSampler

    def _planned(self, space: Space, *, tell: bool = False) -> Planned:
        """The known points that are inside the space, then the points of the grid if there is one."""
        extended = self.extend_space is not None
        planned = known_points(self.settings.enqueue or {}, space, self.config, extended=extended, tell=tell)
        if self._is_grid():
            planned += [("grid", point) for point in grid_points(space, self.sampler_seed or 0)]
        return planned

    def _check_folder(self, study: optuna.Study | None) -> None:
        """Raises UserError if the study's folder contains runs of another study, which would be overwritten."""
        settings = self.settings
        folder = Path(self.sweep_dir)
        if settings.storage is None or not folder.is_dir():
            return
        # Runs are listed before trials, since other processes create a trial first and then its run.
        runs = {int(path.name) for path in folder.iterdir() if path.name.isdigit()}
        numbers = set() if study is None else {trial.number for trial in study.get_trials(deepcopy=False)}
        strange = sorted(runs - numbers)
        for number in strange:
            check_unfinished(folder / str(number))
        if strange and not settings.force:
            raise UserError(
                f"{folder / str(strange[0])}: is there, but study {settings.study_name} has no trial {strange[0]}: the "
                "folder is another study's; move it away, or choose another one with hydra.sweep.dir=..."
            )
