"""How to install what only some users need. This package is on no index, so an extra's own requirements are named."""

from __future__ import annotations

import shlex
import sys
from importlib import metadata

from packaging.requirements import Requirement

PACKAGE = "mdaf-sweep"


def install(*names: str) -> str:
    """The line to type that installs these extras, or packages that are none, into the Python that runs."""
    wanted = [requirement for name in names for requirement in _requirements(name) or [name]]
    return shlex.join([sys.executable or "python", "-m", "pip", "install", *wanted])


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
