"""How a trial ended: its values, the pruner's end, or what made it fail; told to the study."""

from __future__ import annotations

import gc
import io
import logging
import math
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass

import optuna
from hydra.core.utils import JobReturn
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from mdaf.reporting import is_interruption, is_out_of_memory, is_user_error, one_line
from mdaf.secrets import masked_text
from mdaf.sweeper.storage.optuna_internals import stored_trial
from mdaf.sweeper.storage.retrying import StorageAwayError
from mdaf.sweeper.trials.leases import give_up
from mdaf.sweeper.trials.retries import BY_ITS_POINT, BY_WHAT_WAS_TYPED, enqueue_retries
from mdaf.sweeper.trials.user_attrs import ERROR, FAILED_BY, INTERRUPTED, MICRO_BATCH, RETRY, RETRY_OVERRIDES, TRACEBACK

log = logging.getLogger(__name__)

TRACEBACK_CHARACTERS = 12_000  # of the end, which says the most


@dataclass(frozen=True)
class Failure:
    """A trial that failed, and whether it is tried again: with less memory, or because it was only interrupted."""

    number: int
    error: Exception
    retried: bool
    interrupted: bool = False


class NotANumberError(ValueError):
    """The objective came to no number."""

    of_its_point = True


def describe(error: BaseException) -> dict[str, str]:
    """An exception as user attributes, without passwords."""
    lines = "".join(traceback.format_exception(error))
    kind, message = type(error).__name__, one_line(error)
    described = {
        ERROR: masked_text(kind if message == kind else f"{kind}: {message}"),
        TRACEBACK: masked_text(lines)[-TRACEBACK_CHARACTERS:],
    }
    if getattr(error, "of_its_point", False):
        described[FAILED_BY] = BY_ITS_POINT
    elif is_user_error(error):
        described[FAILED_BY] = BY_WHAT_WAS_TYPED
    return described


def values_of(result: JobReturn, objectives: int) -> list[float]:
    """What the job returned, a number for each objective. Raises what the job raised, ValueError for anything else."""
    with redirect_stderr(io.StringIO()):  # Hydra announces an error even where the pruner ended the job
        returned = result.return_value
    try:
        values = [float(value) for value in (returned if objectives > 1 else [returned])]
    except (TypeError, ValueError):
        expected = "a number" if objectives == 1 else f"{objectives} numbers"
        raise ValueError(f"the objective is {returned!r}, expected {expected}") from None
    if len(values) != objectives:
        raise ValueError(f"the job returned {len(values)} values for {objectives} objectives")
    if not all(map(math.isfinite, values)):
        raise NotANumberError(f"the objective is {returned}")
    return values


def tell(study: optuna.Study, trial: Trial, result: JobReturn, micro_batch: int | None) -> Failure | None:
    """Tells the study how a trial ended; what made it fail, if it did.

    ``micro_batch`` is what the config says of it; where memory ran out, half of what the job used is tried, once.
    """
    try:
        values = values_of(result, len(study.directions))
    except optuna.TrialPruned:
        if _tell(study, trial, TrialState.PRUNED):
            log.info("trial %d pruned", trial.number)
        return None
    except Exception as error:
        return fail(study, trial, error, micro_batch)
    if _tell(study, trial, TrialState.COMPLETE, values):
        log.info("trial %d: %s with %s", trial.number, ", ".join(f"{v:.4f}" for v in values), shown(trial.params))
    return None


def fail(study: optuna.Study, trial: Trial, error: Exception, micro_batch: int | None) -> Failure | None:
    """Tells a trial FAIL, with the error and its traceback; None if another process gave the trial up meanwhile."""
    stored = stored_trial(study, trial)
    if is_interruption(error) or stored.user_attrs.get(INTERRUPTED):
        return _interrupted(study, stored, error)
    overrides = _with_less_memory(stored, micro_batch) if is_out_of_memory(error) else None
    try:
        for name, value in describe(error).items():
            if name not in stored.user_attrs:  # the job, if it could, wrote them where it failed
                trial.set_user_attr(name, value)
        if overrides is not None:
            trial.set_user_attr(RETRY, {RETRY_OVERRIDES: overrides})
    except UpdateFinishedTrialError:
        pass  # another process gave the trial up meanwhile: telling it says so
    if not _tell(study, trial, TrialState.FAIL):
        return None
    enqueue_retries(study, at_once=[trial.number])
    again = f"; it is tried again with {overrides[0]}" if overrides else ""
    log.warning("trial %d failed: %s%s", trial.number, describe(error)[ERROR], again)
    if is_out_of_memory(error):
        _release_memory(error)
    return Failure(trial.number, error, retried=overrides is not None)


def _interrupted(study: optuna.Study, trial: FrozenTrial, error: Exception) -> Failure | None:
    """Gives up a trial whose job left before its end: its point is tried again, and goes on with resume=auto."""
    away = isinstance(error, StorageAwayError)  # only for this job, since the study is told so
    reason = ("its job lost the study database: " if away else "") + masked_text(one_line(error))
    if not give_up(study, trial, reason, interrupted=True):
        return None
    enqueue_retries(study, at_once=[trial.number])
    log.warning("trial %d was interrupted: %s; its point is tried again", trial.number, reason)
    return Failure(trial.number, error, retried=True, interrupted=not away)


def _with_less_memory(trial: FrozenTrial, micro_batch: int | None) -> list[str] | None:
    """The overrides of a retry with half the micro-batch; None if it is one already, or nothing can be halved."""
    used = trial.user_attrs.get(MICRO_BATCH, micro_batch)
    if RETRY_OVERRIDES in trial.user_attrs or used is None or used < 2:
        return None
    return [f"device.micro_batch={used // 2}"]


def _release_memory(error: BaseException) -> None:
    """The frames of the traceback hold the tensors that filled the memory."""
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _tell(study: optuna.Study, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> bool:
    """False if the trial is over already, because another process took this one for dead."""
    try:
        study.tell(trial, list(values) if values is not None else None, state=state)
    except (ValueError, UpdateFinishedTrialError):
        if not stored_trial(study, trial).state.is_finished():
            raise
        log.warning("trial %d was given up by another process meanwhile, so its result is not counted", trial.number)
        return False
    return True


def shown(params: dict[str, object]) -> str:
    """A point in a few words."""
    values = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in params.items()}
    return ", ".join(f"{name.rsplit('.', 1)[-1]} {value}" for name, value in values.items())
