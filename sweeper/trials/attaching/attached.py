"""``mdaf.attach()``: a job of any Hydra program finds its trial, in whatever process a launcher runs it.

The sweep wraps the program's task function in ``TrialTask``. Launchers send that along with the job, so the job's own
process sets the environment variable ``MDAF_TRIAL`` while the task runs. Processes that the job starts inherit it. No
key of the program's config is needed.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import operator
import os
import signal
from collections.abc import Mapping
from typing import Any

import optuna
from hydra.core.hydra_config import HydraConfig
from hydra.types import TaskFunction
from omegaconf import DictConfig

from mdaf.errors import UserError
from mdaf.messages.reporting import one_line
from mdaf.messages.secrets import masked_text
from mdaf.processes.identity import this_process
from mdaf.processes.interruption import environment
from mdaf.processes.signals import EXIT_AT_ONCE, EXIT_RESUMABLE
from mdaf.sweeper.hydra_ext.directories import from_anywhere
from mdaf.sweeper.storage.retrying import without_waiting
from mdaf.sweeper.trials.attaching.link import TrialLink, sweeps_settings
from mdaf.sweeper.trials.outcome import numbers

log = logging.getLogger(__name__)

VARIABLE = "MDAF_TRIAL"  # storage, study, trial, pruner and constraints of a job's trial, as JSON
_NONE = type(None)
_FORMS = [
    {"storage": storage, "study": str, "trial": int, "pruner": pruner, "constraints": dict}
    for storage in (str, _NONE)
    for pruner in (dict, _NONE)
]

OF_SIGNALS = (EXIT_RESUMABLE, EXIT_AT_ONCE, 128 + signal.SIGTERM)  # exit codes of a process that was asked to leave


class JobExitError(RuntimeError):
    """A job asked its process to end. That process may run other jobs too, and so stays."""


class AttachedTrial:
    """The trial of the job that runs here. Outside a sweep it is false, and its methods do nothing.

    ``number``      the trial's number; None outside a sweep.
    ``study_name``  the study's name; None outside a sweep.
    """

    def __init__(self, link: TrialLink | None) -> None:
        self._link = link
        self.number = None if link is None else link.number
        self.study_name = None if link is None else link.study_name

    def __bool__(self) -> bool:
        return self._link is not None

    def report(self, epoch: int, value: float, *, last: bool = False) -> None:
        """Reports the value of an epoch. Raises optuna.TrialPruned if the pruner stops the trial.

        A trial is never stopped after its ``last`` epoch. With several objectives nothing is reported and nothing
        stops, since Optuna prunes by one objective. UserError if ``epoch`` is not a whole number from 0.
        """
        if self.asks_to_stop(epoch, value, last=last):
            raise optuna.TrialPruned(f"stopped by the pruner after epoch {epoch}")

    def asks_to_stop(self, epoch: int, value: float, *, last: bool = False) -> bool:
        """Reports like ``report``, and returns whether the pruner stops the trial, for code that ends by itself."""
        number = _whole(epoch)
        return self._link is not None and self._link.report(number, float(value), last=last)

    def record(self, attributes: Mapping[str, Any]) -> None:
        """Writes user attributes, in plain types, on the trial.

        An attribute that ``hydra.sweeper.constraints`` names also says whether the trial meets that constraint.
        """
        if self._link is not None:
            self._link.record(attributes)
            self._link.constrain(attributes, only_given=True)


def attach() -> AttachedTrial:
    """The trial of this job, or of the job that started this process. Outside a sweep its methods do nothing."""
    text = os.environ.get(VARIABLE)
    return AttachedTrial(None if text is None else _link_of(text, os.getpid()))


class TrialTask:
    """A program's task function. Each of its jobs can find its trial.

    In a process other than the sweep's, the job also renews its trial's lease, and records how it ended.

    ``storage``     the URL of the study database; None for a study in memory.
    ``study_name``  set once the study is open.
    """

    def __init__(self, task: TaskFunction, storage: str | None) -> None:
        functools.update_wrapper(self, task, ("__module__", "__name__", "__qualname__", "__doc__"), ())
        self.task = task
        self.storage = None if storage is None else from_anywhere(storage)
        self.study_name: str | None = None
        self._sweeps_process = this_process()

    def __call__(self, cfg: DictConfig) -> Any:
        """Runs the task as the job that Hydra has just set up."""
        number = HydraConfig.get().job.num  # which is the trial's number
        address = {"storage": self.storage, "study": self.study_name, "trial": number, **sweeps_settings()}
        with environment({VARIABLE: json.dumps(address, default=str)}):
            if self.storage is None or this_process() == self._sweeps_process:
                return self._run(cfg)
            return self._in_a_process_of_its_own(cfg, address)

    def _in_a_process_of_its_own(self, cfg: DictConfig, address: Mapping[str, Any]) -> Any:
        try:
            with without_waiting():
                link = _link_at(address)
        except Exception as error:  # the sweep's process holds the trial in any case
            log.warning("trial %d: its job cannot reach the study: %s", address["trial"], masked_text(one_line(error)))
            return self._run(cfg)
        with link:
            returned = self._run(cfg)
            if (values := _numbers(returned)) is not None:
                link.conclude(values)
            return returned

    def _run(self, cfg: DictConfig) -> Any:
        """Runs the task. JobExitError if it asks its process to end, unless a signal was the reason."""
        try:
            return self.task(cfg)
        except SystemExit as end:
            if end.code in OF_SIGNALS:
                raise
            raise JobExitError(f"the job called sys.exit({end.code!r}), expected it to return a number") from end


@functools.lru_cache(maxsize=1)
def _link_of(text: str, process: int) -> TrialLink | None:
    """The trial that the environment variable names. UserError if the variable holds anything else."""
    try:
        address = json.loads(text)
    except ValueError:
        address = None
    if not isinstance(address, dict) or {key: type(value) for key, value in address.items()} not in _FORMS:
        raise UserError(f"{VARIABLE}: found {masked_text(text)}, expected what a sweep sets for its jobs; unset it")
    if address["storage"] is None and not TrialLink.is_in_memory(address["study"]):
        log.warning(
            "study %s is in memory, so this process cannot reach it: set hydra.sweeper.storage", address["study"]
        )
        return None
    try:
        return _link_at(address)
    except KeyError:
        where = f"trial {address['trial']} of study {address['study']}, which {masked_text(str(address['storage']))}"
        raise UserError(f"{VARIABLE}: found {where} does not hold; unset it") from None


def _link_at(address: Mapping[str, Any]) -> TrialLink:
    return TrialLink(*(address[key] for key in ("storage", "study", "trial", "pruner", "constraints")))


def _numbers(returned: Any) -> list[float] | None:
    """A job's result as one number for each objective; None if it is anything else."""
    values = numbers(returned if isinstance(returned, list | tuple) else [returned])
    return values if values is not None and all(map(math.isfinite, values)) else None


def _whole(epoch: Any) -> int:
    try:
        number = operator.index(epoch)
    except TypeError:
        number = -1
    if number < 0:
        raise UserError(f"trial.report(epoch, value): found epoch {epoch}, expected a whole number from 0")
    return number
