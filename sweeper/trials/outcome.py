"""How a trial ended: its values, the pruner's end, or what made it fail; told to the study."""

from __future__ import annotations

import gc
import io
import itertools
import logging
import math
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from typing import Any

from hydra.core.utils import JobReturn
from optuna.trial import FrozenTrial

from mdaf.messages.reporting import is_user_error, one_line
from mdaf.messages.secrets import masked_text
from mdaf.sweeper.trials.retries import BY_ITS_POINT, BY_WHAT_WAS_TYPED
from mdaf.sweeper.trials.user_attrs import ERROR, FAILED_BY, MICRO_BATCH, RETRY_OVERRIDES, TRACEBACK

log = logging.getLogger(__name__)

TRACEBACK_CHARACTERS = 12_000  # of the end, which says the most
ERROR_CHARACTERS = 2_000  # of the beginning
MOST_SHOWN = 100  # characters of what a job returned


@dataclass(frozen=True)
class Failure:
    """A trial that failed, and whether it is tried again: with less memory, or because it was only interrupted."""

    number: int
    error: Exception
    retried: bool
    interrupted: bool = False


class UnusableResultError(ValueError):
    """A job came to its end, but what it returned is no value of the objective."""


class NotANumberError(UnusableResultError):
    """The objective came to no number."""

    of_its_point = True


def describe(error: BaseException) -> dict[str, str]:
    """An exception as user attributes, without passwords."""
    lines = "".join(traceback.format_exception(error))
    kind, message = type(error).__name__, one_line(error)
    described = {
        ERROR: shortened(masked_text(kind if message == kind else f"{kind}: {message}"), ERROR_CHARACTERS),
        TRACEBACK: masked_text(lines)[-TRACEBACK_CHARACTERS:],
    }
    if getattr(error, "of_its_point", False):
        described[FAILED_BY] = BY_ITS_POINT
    elif is_user_error(error):
        described[FAILED_BY] = BY_WHAT_WAS_TYPED
    return described


@dataclass(frozen=True)
class Objective:
    """What a sweep asks of its jobs.

    ``names``        of the objectives, for jobs that return a mapping of names to numbers.
    ``constraints``  name of a metric -> its greatest allowed value.
    """

    names: Sequence[str] | None = None
    constraints: Mapping[str, float] = field(default_factory=dict)


def values_of(result: JobReturn, objectives: int, names: Sequence[str] | None = None) -> list[float]:
    """What the job returned, a number for each objective; of a mapping the numbers under ``names``.

    Raises what the job raised, and UnusableResultError for anything else than finite numbers.
    """
    with redirect_stderr(io.StringIO()):  # Hydra announces an error even where the pruner ended the job
        returned = result.return_value
    if isinstance(returned, Mapping):
        returned = _named(returned, objectives, names)
    expected = "a number" if objectives == 1 else f"{objectives} numbers, one for each objective"
    listed: Iterable[Any]
    if objectives == 1:
        listed = [returned]
    elif isinstance(returned, str | Mapping) or not isinstance(returned, Iterable):
        raise UnusableResultError(f"the job returned {_brief(returned)}, expected {expected}")
    else:
        listed = returned
    values = numbers(listed, most=objectives + 1)
    if values is None:
        forgotten = "; does the function return its result?" if returned is None else ""
        raise UnusableResultError(f"the job returned {_brief(returned)}, expected {expected}{forgotten}")
    if len(values) != objectives:
        raise UnusableResultError(f"the job returned {_brief(returned)}, expected {expected}")
    if not all(map(math.isfinite, values)):
        raise NotANumberError(f"the objective is {_brief(returned)}, expected finite numbers")
    return values


def _named(returned: Mapping[str, Any], objectives: int, names: Sequence[str] | None) -> Any:
    keys = ", ".join(map(str, returned))
    if names is None:
        raise UnusableResultError(
            f"the job returned a mapping with {keys}; name its objectives with hydra.sweeper.objectives=[...]"
        )
    if absent := [name for name in names if name not in returned]:
        raise UnusableResultError(f"the job returned a mapping with {keys}, which lacks the objective {absent[0]}")
    values = [returned[name] for name in names]
    return values if objectives > 1 else values[0]


def excess_of(returned: Any, trial: FrozenTrial, constraints: Mapping[str, float]) -> dict[str, float]:
    """How far each constrained metric is above its greatest allowed value, without those that the job has set.

    A metric is what the job returned under its name, or else the trial's user attribute. UnusableResultError if there
    is neither.
    """
    found = {}
    for name, greatest in constraints.items():
        if name in trial.constraints:
            continue
        given = returned if isinstance(returned, Mapping) and name in returned else trial.user_attrs
        try:
            excess = float(given[name]) - greatest
        except KeyError:
            raise UnusableResultError(
                f"hydra.sweeper.constraints.{name}: the job returned no {name} and recorded none; return a mapping "
                f"with it and hydra.sweeper.objectives, or record it: mdaf.attach().record({{'{name}': VALUE}})"
            ) from None
        except Exception:  # see ``numbers``
            said = f"hydra.sweeper.constraints.{name}: found {_brief(given[name])}, expected a number"
            raise UnusableResultError(said) from None
        found[name] = math.inf if math.isnan(excess) else excess
    return found


def numbers(returned: Iterable[Any], most: int | None = None) -> list[float] | None:
    """What a job returned as numbers, the first ``most`` or all; None if one of them is none."""
    try:
        return [float(value) for value in itertools.islice(returned, most)]
    except Exception:  # each library raises one of its own, and an integer may be too large
        return None


def shortened(text: str, most: int) -> str:
    """The beginning of a text of more than ``most`` characters."""
    return text if len(text) <= most else f"{text[:most]}..."


def _brief(value: object) -> str:
    """A value in a line of bounded length."""
    try:
        text = repr(value)
    except Exception:  # an integer of thousands of digits, or an object of another library
        text = f"<{type(value).__name__}>"
    return shortened(" ".join(text.split()), MOST_SHOWN)


def with_less_memory(trial: FrozenTrial, micro_batch: int | None) -> list[str] | None:
    """The overrides of a retry with half the micro-batch; None if it is one already, or nothing can be halved."""
    used = trial.user_attrs.get(MICRO_BATCH, micro_batch)
    if RETRY_OVERRIDES in trial.user_attrs or used is None or used < 2:
        return None
    return [f"device.micro_batch={used // 2}"]


def release_memory(error: BaseException) -> None:
    """The frames of the traceback hold the tensors that filled the memory."""
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def shown(params: dict[str, object]) -> str:
    """A point in a few words."""
    if not params:
        return "no searched parameter"
    values = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in params.items()}
    return ", ".join(f"{name.rsplit('.', 1)[-1]} {value}" for name, value in values.items())
