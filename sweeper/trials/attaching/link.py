"""A job's own link to its Optuna trial, from wherever the job runs."""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import optuna
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage

from mdaf.errors import UserError
from mdaf.messages.reporting import is_interruption
from mdaf.processes.identity import this_process
from mdaf.sweeper.hydra_ext.directories import from_anywhere
from mdaf.sweeper.hydra_ext.instantiation import created
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.storage.optuna_internals import storage_of, trial_id_of, trial_of
from mdaf.sweeper.storage.retrying import without_waiting
from mdaf.sweeper.trials.leases import Leases
from mdaf.sweeper.trials.outcome import describe
from mdaf.sweeper.trials.points.space import effective_value, overwritten
from mdaf.sweeper.trials.retries import earlier_tries
from mdaf.sweeper.trials.user_attrs import INTERRUPTED, JOB, OUTCOME, RETRY_OF, WORKER

log = logging.getLogger(__name__)


class GivenUpError(RuntimeError):
    """The trial is over in the study: another process took this one for dead, and its point is tried elsewhere."""


class TrialLink:
    """The trial that this job trains: reports go to it, and it may ask the job to stop.

    As a context manager it also holds the trial's lease while the job runs in a process of its own, and writes on the
    trial what made the job fail, traceback included.

    ``storage_url``  None: the study is in this process's memory, see ``keep_in_memory``.
    ``pruner``       the node of a config that describes the pruner; None: none.
    ``constraints``  name of a metric -> the greatest value with which the trial meets the constraint.
    """

    _in_memory: ClassVar[WeakValueDictionary[str, BaseStorage]] = WeakValueDictionary()

    def __init__(
        self,
        storage_url: str | None,
        study_name: str,
        number: int,
        pruner: Mapping[str, Any] | DictConfig | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> None:
        if storage_url is None:
            self.study = _loaded(self._in_memory[study_name], study_name)
        else:
            self.study = _shared_study(from_anywhere(storage_url), study_name, os.getpid())
        self.study.pruner = created("pruner", pruner) if pruner else NopPruner()
        self.study_name = study_name
        self.number = number
        self.constraints = dict(constraints or {})
        self._trial = trial_of(self.study, number)
        self._leases: Leases | None = None

    @classmethod
    def keep_in_memory(cls, study: optuna.Study) -> None:
        """Lets jobs in this process find a study that has no database, as long as the study exists."""
        cls._in_memory[study.study_name] = storage_of(study)

    @classmethod
    def is_in_memory(cls, study_name: str) -> bool:
        """Whether a study without a database can be found in this process."""
        return study_name in cls._in_memory

    def __enter__(self) -> TrialLink:
        attributes = self._trial.user_attrs
        if attributes.get(INTERRUPTED):  # a job that a cluster queued again goes on
            self.record({INTERRUPTED: None})
        if attributes.get(WORKER) not in (None, this_process()):
            self.record({JOB: this_process()})
            self._leases = Leases(storage_of(self.study)).__enter__()
            self._leases.hold(trial_id_of(self._trial))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._leases is not None:
            self._leases.__exit__()
        if error is None or isinstance(error, GivenUpError):
            return
        try:
            if isinstance(error, optuna.TrialPruned):
                self.conclude(None)
            elif is_interruption(error):
                with without_waiting():  # whoever asked the job to leave does not wait for long
                    self.record({INTERRUPTED: str(error) or "by Ctrl-C"})
            elif isinstance(error, Exception):
                self.record(describe(error))
        except Exception as second:  # what ended the job matters more
            log.warning("trial %d: its end could not be recorded: %s", self.number, second)

    def check_parameters(self, cfg: DictConfig, choices: Mapping[str, str]) -> dict[str, Any]:
        """The effective value of every searched parameter. UserError if one is not what the study recorded.

        ``choices`` holds the options of the config groups, since a group is searched by its option's name.
        """
        params = self._trial.params
        for name in overwritten(cfg, choices, params):
            raise UserError(
                f"{name}: the study suggested {params[name]} for trial {self.number} but the job's config holds "
                f"{effective_value(cfg, choices, name)}; another override sets it too, take that one away"
            )
        return {name: effective_value(cfg, choices, name) for name in params}

    def record(self, attributes: Mapping[str, Any]) -> None:
        """Writes user attributes, in plain types."""
        try:
            for name, value in attributes.items():
                self._trial.set_user_attr(name, value)
        except UpdateFinishedTrialError:
            raise self._given_up() from None

    def conclude(self, values: Sequence[float] | None) -> None:
        """Records what the job returns, None where the pruner stopped it, if another process tells the study.

        If that process is gone by then, the next process that finds the trial tells the study (``Trials.reap``).
        """
        if self._leases is not None:
            state = "PRUNED" if values is None else "COMPLETE"
            self.record({OUTCOME: {"state": state, "values": None if values is None else list(values)}})

    def earlier_folders(self, own: Path) -> list[Path]:
        """The run folders of the trials whose point this one tries again, the latest first.

        The latest need not hold a state: it may have been interrupted again before it had saved one. The folders are
        looked for beside this trial's ``own``, under their numbers alone, since a study may not name paths.
        """
        if RETRY_OF not in self._trial.user_attrs or own.name != str(self.number):
            return []
        earlier = earlier_tries(self._trial.user_attrs, self.study.get_trials(deepcopy=False))
        folders = [own.with_name(str(trial.number)) for trial in earlier]
        return [folder for folder in folders if folder.is_dir()]

    def report(self, epoch: int, value: float, *, last: bool = False) -> bool:
        """Reports the value of an epoch; True if the pruner asks the job to stop, never after the ``last`` one.

        Optuna prunes by one objective: with several nothing is reported and nothing stops.
        """
        if len(self.study.directions) > 1:
            return False
        try:
            self._trial.report(value, epoch)
            return not last and self._trial.should_prune()
        except UpdateFinishedTrialError:
            raise self._given_up() from None

    def constrain(self, row: Mapping[str, Any], *, only_given: bool = False) -> None:
        """Records how far the metrics of ``row`` are above their greatest allowed values; infinitely without a value.

        ``only_given``  whether a metric that ``row`` does not have is left alone.
        """
        for name, greatest in self.constraints.items():
            if only_given and name not in row:
                continue
            excess = math.nan if row.get(name) is None else row[name] - greatest
            self._trial.set_constraint(name, math.inf if math.isnan(excess) else excess)

    def _given_up(self) -> GivenUpError:
        return GivenUpError(f"trial {self.number} of study {self.study_name} is over: another process gave it up")


def sweeps_settings() -> dict[str, Any]:
    """What this Hydra job must know of its sweep's settings, in plain types: the pruner's node and the constraints."""
    sweeper = HydraConfig.get().sweeper
    pruner, constraints = sweeper.get("pruner"), sweeper.get("constraints")
    return {
        "pruner": OmegaConf.to_container(pruner, resolve=True) if pruner else None,
        "constraints": {str(name): float(greatest) for name, greatest in (constraints or {}).items()},
    }


@functools.lru_cache(maxsize=4)
def _shared_study(url: str, name: str, process: int) -> optuna.Study:
    """One connection for all the jobs of a process; a forked one opens its own."""
    return _loaded(open_storage(url, create=False), name)


def _loaded(storage: BaseStorage, name: str) -> optuna.Study:
    """A study for reports: the sampler has proposed the points already, and a cheap one keeps Trial() from sampling."""
    return optuna.load_study(study_name=name, storage=storage, sampler=RandomSampler())
