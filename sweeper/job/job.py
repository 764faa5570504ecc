"""A job: one run from its config to its artifacts and its objective. ``run`` and ``multirun`` create jobs."""

from __future__ import annotations

import logging
import shlex
from contextlib import ExitStack, nullcontext
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mdaf.conf.schema import Criteria
from mdaf.data.inspecting.trivial_rules import trivial_rules
from mdaf.data.preparing.prepare import prepare_config, say_what_was_read
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.promises import promise_in_words
from mdaf.naming.config_keys import check_keys
from mdaf.sweeper.hydra_ext.configs.saved import OwnConfig
from mdaf.sweeper.hydra_ext.directories import work_where_it_was_typed
from mdaf.sweeper.hydra_ext.run_config import validate
from mdaf.sweeper.job.criteria import are_meant
from mdaf.sweeper.job.identity import identify, record_start, shown
from mdaf.sweeper.job.job_log import JobLog
from mdaf.sweeper.job.measurable import check_measurable
from mdaf.sweeper.job.recorder import Recorder
from mdaf.sweeper.job.resuming import adopt, states_of
from mdaf.sweeper.job.tracking import tracked
from mdaf.sweeper.machine.device import set_up
from mdaf.sweeper.runs.checkpoint import Position, Saved
from mdaf.sweeper.runs.folder import RunFolder
from mdaf.sweeper.runs.lock import locked
from mdaf.sweeper.runs.metric_columns import MONITOR, column
from mdaf.sweeper.runs.reader import check_unfinished
from mdaf.sweeper.training.building import model_factory
from mdaf.sweeper.training.progress import EpochProgress
from mdaf.sweeper.trials.attaching import artifacts
from mdaf.terminal.programs import command
from mdaf.terminal.progress import shown as shown_progress

if TYPE_CHECKING:
    from mdaf.sweeper.trials.attaching.link import TrialLink

log = logging.getLogger(__name__)


class Job:
    """One run: set up here, then trained by ``group.train_jobs``, alone or in lock-step with others, then finished.

    Create it inside its Hydra job, and use it in a ``with`` statement: an exception is then recorded on its trial.
    Raises UserError if the config cannot be run.
    """

    def __init__(self, cfg: DictConfig) -> None:
        work_where_it_was_typed()
        with ExitStack() as stack:
            self.trial: TrialLink | None = stack.enter_context(attached(cfg) or nullcontext())
            check_keys(cfg, HydraConfig.get())
            validate(cfg)
            self.cfg = cfg
            self._is_alone = HydraConfig.get().mode is not RunMode.MULTIRUN
            self.device = set_up(cfg.device) if model_factory.by_gradient(cfg.model) else torch.device("cpu")
            with shown_progress() as progress:
                self.store = prepare_config(cfg.data, progress, silently=True)
            check_measurable(cfg, self.store)
            self.unknown_users = model_factory.decide_fields(cfg, self.store)
            self.recorder = self._recorder(stack)
            if self.recorder.tracked is not None:
                stack.push(self.recorder.tracked)
            self.log = JobLog()
            stack.callback(self.log.close)
            with self.log.active():
                say_what_was_read(self.store, self.log.common)
                log.info("splits: %s", promise_in_words(self.store), extra=self.log.common)
                self._say_what_is_left_out()
            self._stack = stack.pop_all()

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def finish(self) -> float | tuple[float, ...]:
        """Writes the last artifacts and returns the objective, or raises the exception that ended the run."""
        with self.log.active():
            self.own_config.restore()
            value = self.recorder.finish()
            folder = shown(self.recorder.folder.path)
            log.info("%s; everything about this run lies in %s", self._best_in_words(), folder)
            if self._is_alone:
                predict = f"{command('sweeper.predict')} {shlex.quote(str(folder))} FILE --out scores.csv"
                log.info("next, its scores for the rows of a file: %s", predict)
        return value

    @cached_property
    def gathered(self) -> DeviceStore:
        """The store on the job's device."""
        device = self.cfg.device
        return DeviceStore(self.store, self.device, device.memory_fraction, self.cfg.data.history_order)

    def states(self) -> dict[Position, Saved]:
        """The checkpoints from which the run can resume. If there are none, artifacts of other runs are removed."""
        folder = self.recorder.folder
        folder.remove_drafts()
        if self.cfg.resume == "never":
            folder.clear()
            if self.recorder.tracked is not None:
                self.recorder.tracked.restart()
            return {}
        if self.trial is not None:
            adopt(self.recorder, self.trial.earlier_folders(folder.path))
        found = states_of(self.recorder)
        if not found:
            folder.clear()
        return found

    def _best_in_words(self) -> str:
        monitor, best = self.recorder.monitor, self.recorder.best
        assert best is not None
        if monitor == MONITOR:
            return f"best validation AUC {best['val_auc']:.4f}"
        return f"best {column(monitor).heading} {best[monitor]:.4f}, with validation AUC {best['val_auc']:.4f}"

    def _say_what_is_left_out(self) -> None:
        if self.unknown_users is not None and self.cfg.model.without:
            log.info(
                "training has not seen %.0f %% of the users in validation, so the model does without the user's id: "
                "model.without=[%s]; model.without=[] keeps it",
                100 * self.unknown_users,
                ",".join(self.cfg.model.without),
                extra=self.log.common,
            )

    def _recorder(self, stack: ExitStack) -> Recorder:
        cfg = self.cfg
        folder = RunFolder(HydraConfig.get().runtime.output_dir)
        stack.enter_context(locked(folder.path))
        self.own_config = OwnConfig(cfg, folder.path)
        self.own_config.restore()
        if cfg.resume == "never":
            check_unfinished(folder.path)
        identity = identify(cfg, self.store, self.device)
        if self.trial is not None:
            record_start(self.trial, cfg, identity, folder, self.device, self.unknown_users is not None)
            if cfg.sweep.artifacts:
                url = artifacts.url_of(cfg.sweep.artifacts, self.trial.study_name, self.trial.number)
                artifacts.check(url)
                self.trial.record({artifacts.ARTIFACTS: url})
                stack.callback(artifacts.leave, folder.path, url)  # also if the job fails
        return Recorder(
            folder,
            identity,
            Criteria(**OmegaConf.to_container(cfg.criteria)) if are_meant(cfg) else None,  # type: ignore[arg-type]
            cfg.training.epochs,
            EpochProgress(cfg.training.epochs, cfg.training.batch_size),
            self.trial,
            list(cfg.sweep.objectives),
            cfg.training.monitor,
            tracked(cfg, folder.path, identity),
            partial(trivial_rules, self.store),
        )


def attached(cfg: DictConfig) -> TrialLink | None:
    """The job's link to its trial; None without a study. In that case no database driver is imported.

    The config names the trial, because jobs that train in lock-step share a process and its environment.
    """
    if cfg.sweep.trial is None:
        return None
    from mdaf.sweeper.trials.attaching.link import TrialLink, sweeps_settings

    return TrialLink(cfg.sweep.storage, cfg.sweep.study, cfg.sweep.trial, **sweeps_settings())
