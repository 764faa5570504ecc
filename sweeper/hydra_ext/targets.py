"""The names that a config may have in ``_target_``. Each is listed by itself: a package would allow all its functions.

The user of a program adds others in the environment variable ``MDAF_ALLOW``. No file can: a config, a study or a
``.env`` may come from somebody else.

Models and data sources are not listed but checked by their class (``mdaf.sweeper.training.model_factory``,
``mdaf.data.preparing.source``). Launchers and sweepers are plugins, which Hydra looks up itself.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import InstantiationException

from mdaf.errors import UserError

CALLBACKS = (
    "mdaf.sweeper.hydra_ext.callbacks.Refusal",
    "mdaf.sweeper.hydra_ext.callbacks.MaskedOverrides",
    "mdaf.multirun.launching.callback.RunTable",
)

_UPSTREAM = "hydra_plugins.hydra_optuna_sweeper"
# BruteForceSampler is left out: it stops the study, which Optuna allows only in Study.optimize. Use a grid instead.
SAMPLERS = (
    *(
        f"optuna.samplers.{name}Sampler"
        for name in ("CmaEs", "GP", "Grid", "NSGAII", "NSGAIII", "PartialFixed", "QMC", "Random", "TPE")
    ),
    *(
        f"optuna.samplers.nsgaii.{name}"
        for name in (
            *("BLXAlphaCrossover", "SBXCrossover", "SPXCrossover", "UNDXCrossover", "UniformCrossover"),
            *("VSBXCrossover", "PolynomialMutation"),
        )
    ),
    # Functions of ours and upstream that create two samplers, and report that a third was removed.
    "mdaf.sweeper.hydra_ext.instantiation.nsgaiii_sampler",
    "mdaf.sweeper.hydra_ext.instantiation.motpe_sampler",
    f"{_UPSTREAM}._impl.create_nsgaii_sampler",
    f"{_UPSTREAM}._impl.create_nsgaiii_sampler",
    f"{_UPSTREAM}.config.raise_motpe_removed",
    "mdaf.sweeper.racing.sampler.RacingSampler",
)
PRUNERS = tuple(
    f"optuna.pruners.{name}Pruner"
    for name in (
        *("Hyperband", "Median", "Nop", "Patient", "Percentile"),
        *("SuccessiveHalving", "Threshold", "Wilcoxon"),
    )
)

# ---- what the user adds

VARIABLE = "MDAF_ALLOW"  # names of classes, or packages as mine.samplers.*, with commas between them
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_PACKAGE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*\.\*")


def _as_started() -> str | None:
    """The variable as this process was started with it.

    A config can set variables for jobs (``hydra.job.env_set``), and a program may read a file of them (``.env``), both
    before this module is imported. So the system is asked where it can tell. Later changes reach no child either.
    """
    try:
        raw = Path("/proc/self/environ").read_bytes()
    except OSError:
        raw = b""
    started = dict(entry.split(b"=", 1) for entry in raw.split(b"\0") if b"=" in entry)
    if not started:  # another system, or a process that wrote its title over its environment
        return os.environ.get(VARIABLE)
    found = started.get(VARIABLE.encode())
    if found is None:
        os.environ.pop(VARIABLE, None)
        return None
    os.environ[VARIABLE] = os.fsdecode(found)
    return os.environ[VARIABLE]


STARTED_WITH = _as_started()


def allowed() -> tuple[str, ...]:
    """What the user allows in addition to the lists, from ``MDAF_ALLOW``. Raises UserError if an entry is not valid."""
    entries = [entry.strip() for entry in (STARTED_WITH or "").split(",")]
    for entry in entries:
        if entry and not (_NAME.fullmatch(entry) or _PACKAGE.fullmatch(entry)):
            raise UserError(
                f"{VARIABLE}: found {entry}, expected names of classes with their modules, or packages, with commas "
                f"between them, such as {VARIABLE}=mine.Sampler,mine.samplers.*"
            )
    return tuple(entry for entry in entries if entry)


def is_named(target: str, names: Iterable[str]) -> bool:
    """Whether ``target`` is one of ``names``, or lies in a package of them; * is all."""
    return any(name in (target, "*") or (name.endswith(".*") and target.startswith(name[:-1])) for name in names)


def refusal(target: str) -> str:
    """Why a config may not name ``target``, and the line to type if it is to be allowed."""
    entries = ",".join((*allowed(), target))
    return (
        f"{target} is not on the list of what a config may name; if you trust that code, type "
        f"export {VARIABLE}={shlex.quote(entries)} and then the same command"
    )


def refused_by_hydra(error: Exception) -> str | None:
    """The same if Hydra refused what a name turned out to stand for; None for its other errors."""
    found = re.match(r"Target '([\w.]+)'.* is not in the Hydra execution whitelist", str(error))
    return refusal(found[1]) if found else None


@contextmanager
def explained() -> Iterator[None]:
    """Turns Hydra's refusal of a callback into a UserError with the line to type."""
    try:
        yield
    except InstantiationException as error:
        if not (said := refused_by_hydra(error)):
            raise
        key = re.search(r"^full_key: (\S+)", str(error), re.MULTILINE)
        raise UserError(f"{key[1]}: {said}" if key else said) from None
