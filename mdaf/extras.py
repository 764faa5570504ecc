"""How to install what only some users need. This package is on no index, so an extra's own requirements are named."""

from __future__ import annotations

import copy
import functools
import importlib
import shlex
import sys
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from packaging.requirements import Requirement

from mdaf.errors import UserError

PACKAGE = "mdaf-sweep"
MODULES = {"scikit-learn": "sklearn", "hydra-core": "hydra"}  # distribution -> module, where the names differ


def install(*names: str) -> str:
    """The line to type that installs these extras, or packages that are none, into the Python that runs."""
    wanted = dict.fromkeys(requirement for name in names for requirement in _requirements(name) or [name])
    return shlex.join([sys.executable or "python", "-m", "pip", "install", *wanted])


def require(extra: str, what: str) -> None:
    """UserError with the line to type unless everything that an extra brings is installed.

    ``what``  needs it, say a command.
    """
    wanted = {one.name: one for one in map(Requirement, _requirements(extra))}
    for_all = {one.name for one in _declared() if one.marker is None}
    others = [
        f"{name} {found}"
        for name in wanted
        if name in for_all and (found := _another_version(wanted[name])) is not None
    ]
    if others:
        raise UserError(f"{what} needs the extra [{extra}], and found {', '.join(others)}: {install(extra)}")
    if absent := [name for name in wanted if find_spec(MODULES.get(name, name)) is None]:
        raise UserError(
            f"{what} needs the extra [{extra}], of which {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not "
            f"installed: {install(extra)}"
        )


def imported(module: str, extra: str, what: str) -> Any:
    """A module that only an extra brings; UserError with the line to type where it is not installed."""
    if find_spec(module) is None:
        raise UserError(f"{what} needs {module}, which isn't installed: {install(extra)}")
    return importlib.import_module(module)


def _another_version(wanted: Requirement) -> str | None:
    """The version that is installed, if it is not a wanted one; else None."""
    found = metadata.version(wanted.name)
    return None if wanted.specifier.contains(found, prereleases=True) else found


def _requirements(extra: str) -> list[str]:
    """What an extra adds; an extra that is made of others, theirs."""
    found: list[str] = []
    for requirement in _declared():
        if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
            continue
        if requirement.marker.evaluate({"extra": ""}):
            continue  # needed by everyone
        if requirement.name == PACKAGE:
            found += [one for name in sorted(requirement.extras) for one in _requirements(name)]
        else:
            bare = copy.copy(requirement)
            bare.marker = None
            found.append(str(bare))
    return found


def _declared() -> tuple[Requirement, ...]:
    try:
        return _read(tuple(metadata.requires(PACKAGE) or ()))
    except metadata.PackageNotFoundError:  # run from its folder, not installed
        return ()


@functools.cache  # every command asks several times, and a hundred lines take long to parse
def _read(lines: tuple[str, ...]) -> tuple[Requirement, ...]:
    return tuple(map(Requirement, lines))
