"""The sweep itself: take a trial, hand a job that knows it to the launcher, tell the study what came of it."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import GridSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial

from mdaf import signals
from mdaf.children import follow_parent
from mdaf.errors import UserError
from mdaf.interruption import Interruption
from mdaf.names import folder_of
from mdaf.reporting import is_user_error, one_line
from mdaf.sweeper.hydra_ext import eta
from mdaf.sweeper.hydra_ext.config_cache import ComposedAlike
from mdaf.sweeper.hydra_ext.config_sources import write_origin
from mdaf.sweeper.hydra_ext.directories import from_anywhere
from mdaf.sweeper.hydra_ext.optuna_sweeper_internals import UpstreamSweeper
from mdaf.sweeper.hydra_ext.overrides import hydra_value, key_of
from mdaf.sweeper.runs.reader import check_unfinished
from mdaf.sweeper.search import workers as fleet
from mdaf.sweeper.search.cluster import is_lost, runs_elsewhere
from mdaf.sweeper.search.job_slots import Ended, Slots
from mdaf.sweeper.search.known_points import known_points
from mdaf.sweeper.search.reseeding import reseed
from mdaf.sweeper.search.results_file import write_results
from mdaf.sweeper.search.settings import check_settings, check_space
from mdaf.sweeper.search.stopping import Stopping
from mdaf.sweeper.storage.opening import masked, open_storage
from mdaf.sweeper.storage.optuna_internals import storage_of, stored_trial, suggest, trial_id_of
from mdaf.sweeper.storage.retrying import at_the_end
from mdaf.sweeper.storage.sqlite_file import settle
from mdaf.sweeper.trials.admitted import STUDIES, memory_overrides, refusal
from mdaf.sweeper.trials.allocation import FINISHED, Places, Planned, say_what_failed, try_again
from mdaf.sweeper.trials.compatibility import agree, agree_on_directions
from mdaf.sweeper.trials.leases import DEFAULT_MAX_DEATHS, Leases, Reaper, bound_deaths, give_up, reap, tell_outcome
from mdaf.sweeper.trials.outcome import Failure, fail, tell
from mdaf.sweeper.trials.retries import DEFAULT_MAX_RETRIES, enqueue_retries
from mdaf.sweeper.trials.space import Space, Wanted, checked_value, grid_points, wanted
from mdaf.sweeper.trials.user_attrs import ADDED, OVERRIDES, RETRY_OVERRIDES

log = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.WARNING)  # the sweep says what happens in its own words

POLL_SECONDS = 0.5  # between two looks at a study whose places are all taken
LOST_IN_A_ROW = 5  # times n_jobs: so many jobs that were lost say that none will come back


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
        study = self._study(search)
        planned = self._planned(search.space)
        if not fleet.is_worker():
            try_again(study, planned, self.n_trials, self.max_retries, self.stopping.began)
        if fleet.is_first():
            eta.expect(eta.Plan(self.n_trials - _finished(study), self.workers))
        if self.workers > 1 and not fleet.is_worker():
            try:
                fleet.run_workers(min(self.workers, max(1, self.n_trials - _finished(study))))
            except BaseException:
                # A worker that was slow to leave was killed in the end.
                at_the_end(storage_of(study), lambda: reap(study, interrupted=True))
                raise
            reap(study)  # a worker that was ended between two lines may have left its trial running
        else:
            self._work(study, search, planned)
        if not fleet.is_worker():
            try:
                write_results(study, Path(self.sweep_dir), self.storage, self._stopped(study))
            finally:
                say_what_failed(
                    study, planned, self.n_trials, must_be_whole=self._is_grid() and self.storage is not None
                )
        settle(storage_of(study))

    # ---- the study

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
            bound_deaths(study, self.max_deaths)
            where = "memory" if self.storage is None else masked(self.storage)
            log.info("study %s in %s: %d of %d trials", study.study_name, where, _finished(study), self.n_trials)
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

    # ---- the loop

    def _work(self, study: optuna.Study, search: Wanted, planned: Planned) -> None:
        """The loop; whatever ends it, no trial of this process is left RUNNING."""
        with Leases(storage_of(study)) as leases:
            places = Places(
                study,
                self.n_trials,
                leases,
                planned=planned,
                only_planned=self._is_grid(),
                prepare=functools.partial(reseed, study.sampler, self.sampler_seed),
            )
            try:
                if runs_elsewhere(self.launcher):
                    self._keep_running(study, places, search, leases)
                else:
                    self._take_and_run(study, places, search, leases)
            except BaseException:  # Ctrl-C, or a worker that is asked to end
                at_the_end(storage_of(study), functools.partial(_give_up_all, study, leases))
                raise

    def _take_and_run(self, study: optuna.Study, places: Places, search: Wanted, leases: Leases) -> None:
        """Launches ``n_jobs`` trials, waits for all, and so on."""
        reaper, idle = Reaper(study, leases), False
        while not places.over(seen := study.get_trials(deepcopy=False)):
            Interruption().check()  # what was raised at that moment may have been swallowed
            if reaper.look(at_once=idle):
                seen = study.get_trials(deepcopy=False)
            if reason := self.stopping.reason(study, seen):
                log.info("the sweep ends: %s", reason)
                return
            trials = self._take(study, places, seen, search)
            if trials:
                self._run(study, trials, search, leases)
            elif idle:
                time.sleep(POLL_SECONDS)
            idle = not trials

    def _take(self, study: optuna.Study, places: Places, seen: Sequence[FrozenTrial], search: Wanted) -> list[Trial]:
        attributes = _attributes(search)
        trials: list[Trial] = []
        while len(trials) < self.n_jobs and (trial := places.take(seen, attributes)) is not None:
            trials.append(trial)
            if len(trials) < self.n_jobs:
                seen = study.get_trials(deepcopy=False)
        return trials

    def _keep_running(self, study: optuna.Study, places: Places, search: Wanted, leases: Leases) -> None:
        """Keeps ``n_jobs`` jobs running elsewhere, each begun when another ends; a lost one's point is tried again."""
        assert self.launcher is not None
        reaper, slots, ending, lost = Reaper(study, leases), Slots(self.launcher, self.n_jobs), False, 0
        while True:
            Interruption().check()  # what was raised at that moment may have been swallowed
            seen, begun = study.get_trials(deepcopy=False), False
            if reaper.look(at_once=not slots.running):
                seen = study.get_trials(deepcopy=False)
            over = places.over(seen)
            if not (ending or over) and (reason := self.stopping.reason(study, seen)):
                log.info("the sweep ends: %s", reason)
                ending = True
            if not slots.running and (ending or over):
                return
            if not (ending or over) and slots.free and (trial := places.take(seen, _attributes(search))):
                self._begin(study, trial, search, leases, slots)
                begun = True
            for ended in slots.wait(0.0 if begun else POLL_SECONDS):
                lost = lost + 1 if self._end(study, ended, leases) else 0
                if lost > LOST_IN_A_ROW * self.n_jobs:
                    assert isinstance(ended.result, Exception)
                    raise UserError(f"{lost} jobs in a row were lost, the last one: {one_line(ended.result)}")

    def _begin(self, study: optuna.Study, trial: Trial, search: Wanted, leases: Leases, slots: Slots) -> None:
        try:
            self._suggest(trial, search.space)
            job = self._job(study, trial, search)
        except Exception as error:  # of the space: not the job's own
            fail(study, trial, error, None)
            leases.release(trial_id_of(trial))
            raise
        slots.start(trial, job)

    def _end(self, study: optuna.Study, ended: Ended, leases: Leases) -> bool:
        """Tells the study what came of a job; whether it was lost."""
        trial, result, failure, lost = ended.trial, ended.result, None, False
        if not isinstance(result, Exception):
            failure = tell(study, trial, result, self._micro_batch())
        elif lost := is_lost(result):
            frozen = stored_trial(study, trial)
            if not tell_outcome(study, frozen) and give_up(study, frozen, f"its job was lost: {one_line(result)}"):
                log.warning("trial %d is given up: its job was lost: %s", trial.number, one_line(result))
                enqueue_retries(study, at_once=[trial.number])
        else:
            failure = fail(study, trial, result, self._micro_batch())
        leases.release(trial_id_of(trial))
        if failure is not None and failure.interrupted:  # of one job among many: the others go on
            return True
        self._stop_if_failing([failure] if failure is not None else [], 1)
        return lost

    def _stopped(self, study: optuna.Study) -> str | None:
        """Why the sweep ended before its trials were used up."""
        if _finished(study) >= self.n_trials:
            return None
        return self.stopping.reason(study, study.get_trials(deepcopy=False))

    def _run(self, study: optuna.Study, trials: Sequence[Trial], search: Wanted, leases: Leases) -> None:
        """Runs a job for each trial and tells the study what came of it."""
        try:
            for trial in trials:
                self._suggest(trial, search.space)
            returns = self._launch(study, trials, search)
        except Exception as error:  # of the space, the launcher or the composition of a job: not the job's own
            for trial in trials:
                fail(study, trial, error, None)
                leases.release(trial_id_of(trial))
            raise
        micro_batch, failures = self._micro_batch(), []
        for trial, result in zip(trials, returns, strict=True):
            failures.append(tell(study, trial, result, micro_batch))
            leases.release(trial_id_of(trial))
        self._stop_if_failing([failure for failure in failures if failure is not None], len(trials))

    def _suggest(self, trial: Trial, space: Space) -> None:
        for name, distribution in space.items():
            try:
                suggest(trial, name, distribution)
            except ValueError as error:  # enqueued by another program
                raise UserError(
                    f"trial {trial.number}: {name}: the value that it was enqueued with is none of the space: {error}"
                ) from None
        if self.custom_search_space_extender:
            assert self.config is not None
            self.custom_search_space_extender(self.config, trial)

    def _launch(self, study: optuna.Study, trials: Sequence[Trial], search: Wanted) -> list[JobReturn]:
        """Launches one job a trial; each job's number and folder are its trial's number."""
        assert self.launcher is not None
        jobs = [self._job(study, trial, search) for trial in trials]
        if [trial.number for trial in trials] == list(range(trials[0].number, trials[0].number + len(trials))):
            return list(self.launcher.launch(jobs, initial_job_idx=trials[0].number))
        # A launcher counts jobs from the first one's number, so trials with a gap between them are launched alone.
        return [
            result
            for trial, job in zip(trials, jobs, strict=True)
            for result in self.launcher.launch([job], initial_job_idx=trial.number)
        ]

    def _job(self, study: optuna.Study, trial: Trial, search: Wanted) -> list[str]:
        retry = memory_overrides(trial.user_attrs.get(RETRY_OVERRIDES))
        changed = {key_of(override) for override in retry}
        fixed = [override for override in search.fixed if key_of(override) not in changed]
        place = [f"hydra.sweep.dir={hydra_value(self.sweep_dir)}"]
        assert self.config is not None
        if "sweep" in self.config and self.storage is not None:  # a program with this node wants to know
            place += [f"sweep.study={hydra_value(study.study_name)}", f"sweep.trial={trial.number}"]
            if self.storage != OmegaConf.select(self.config, "sweep.storage"):
                place.append(f"sweep.storage={hydra_value(self.storage)}")
        return [*fixed, *retry, *search.overrides_of(self._point(trial, search.space)), *search.own, *place]

    def _point(self, trial: Trial, space: Space) -> dict[str, Any]:
        """The trial's parameters that this sweep searches; whoever put it in line may have named others.

        UserError for one that a custom search space suggested and no study may set.
        """
        params = trial.params
        point = {name: checked_value(name, params[name], space[name]) for name in space if name in params}
        if self.custom_search_space_extender is None:
            return point
        others = {name: value for name, value in params.items() if name not in space}
        for override in Wanted({}, {}, [], []).overrides_of(others):
            if why := refusal(override, own=False):
                raise UserError(f"hydra.sweeper.custom_search_space: {override}: {why}")
        return {**point, **others}

    def _micro_batch(self) -> int | None:
        """The config's micro-batch, which a retry may halve; None where the program has no such key."""
        assert self.config is not None
        if OmegaConf.select(self.config, "device") is None or "micro_batch" not in self.config.device:
            return None
        return self.config.device.micro_batch or OmegaConf.select(self.config, "training.batch_size")

    def _stop_if_failing(self, failures: Sequence[Failure], launched: int) -> None:
        """Ends the sweep when too many of a launch failed, or when every trial would fail the same way."""
        for failure in failures:
            if failure.interrupted or is_user_error(failure.error):
                raise failure.error
        lasting = [failure for failure in failures if not failure.retried]
        if lasting and len(lasting) / launched > self.max_failure_rate:
            raise lasting[0].error


def _give_up_all(study: optuna.Study, leases: Leases) -> None:
    mine = [storage_of(study).get_trial(trial_id) for trial_id in sorted(leases.held)]
    for trial in mine:
        if not tell_outcome(study, trial):
            give_up(study, trial, "the sweep was interrupted", interrupted=True)
    enqueue_retries(study, at_once=[trial.number for trial in mine])


def _finished(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def _attributes(search: Wanted) -> dict[str, Any]:
    """What a rerun of a trial needs besides its parameters, as user attributes."""
    added = {name: sign for name, sign in search.signs.items() if sign}
    return {OVERRIDES: search.fixed} | ({ADDED: added} if added else {})


def _plain(node: Mapping[str, Any] | None) -> dict[str, Any]:
    if node is None:
        return {}
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else dict(node)  # type: ignore[return-value]
