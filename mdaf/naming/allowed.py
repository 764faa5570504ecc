"""What code of the user's own a config may name: what the environment variable ``MDAF_ALLOW`` lists.

No file can add to it: a config, a study, a store, a checkpoint or a ``.env`` may come from somebody else.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mdaf.errors import NotAllowedError, UserError, did_you_mean
from mdaf.naming.former_names import current

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


def permitted(target: str, package: str) -> str:
    """The present name of the class that a config names: one of ``package``, or one that the user allows.

    UserError if it is neither. Nothing is imported.
    """
    target = current(target)
    if not _NAME.fullmatch(target):
        raise UserError(f"found {target}, expected a class of {package}, or one of your own, such as mine.Model")
    if not target.startswith(f"{package}.") and not is_named(target, allowed()):
        raise NotAllowedError(refusal(target))
    return target


def class_named(target: str, package: str) -> type[Any]:
    """The class itself, if it is ``permitted``. UserError if it cannot be imported.

    UserError too if a name within an allowed package stands for a class that is defined elsewhere.
    """
    target = permitted(target, package)
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of the user's own may raise anything
        raise UserError(f"{target} cannot be imported: {_why(error, module, name)}") from error
    if not isinstance(found, type):
        raise UserError(f"found {target}, expected a class")
    defined = f"{found.__module__}.{found.__qualname__}"
    if not target.startswith(f"{package}.") and target not in allowed() and not is_named(defined, allowed()):
        raise NotAllowedError(refusal(defined))
    return found


def _why(error: Exception, module: str, name: str) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name in (module, module.partition(".")[0]):
        return f"Python finds no module {error.name}; if it is your own, type export PYTHONPATH=FOLDER, where it lies"
    if isinstance(error, AttributeError) and error.name == name:
        return f"{module} has no {name}{did_you_mean(name, vars(sys.modules[module]))}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
