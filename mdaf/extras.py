"""How to install what only some users need. This package is on no index, so an extra's own requirements are named."""

from __future__ import annotations

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
    others = [f"{name} {found}" for name, one in wanted.items() if (found := _another_version(one)) is not None]
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
    """The version that is installed of what everyone has, if an extra needs another one; None if there is none such."""
    for_all = [Requirement(line) for line in _declared()]
    if not any(one.name == wanted.name and one.marker is None for one in for_all):
        return None
    found = metadata.version(wanted.name)
    return None if wanted.specifier.contains(found, prereleases=True) else found


def _requirements(extra: str) -> list[str]:
    """What an extra adds; an extra that is made of others, theirs."""
    found: list[str] = []
    for line in _declared():
        requirement = Requirement(line)
        if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
            continue
        if requirement.marker.evaluate({"extra": ""}):
            continue  # needed by everyone
        if requirement.name == PACKAGE:
            found += [one for name in sorted(requirement.extras) for one in _requirements(name)]
        else:
            requirement.marker = None
            found.append(str(requirement))
    return found


def _declared() -> list[str]:
    try:
        return metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:  # run from its folder, not installed
        return []
