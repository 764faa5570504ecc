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
MODULES = {
    "scikit-learn": "sklearn",
    "hydra-core": "hydra",
    "mlflow-skinny": "mlflow",
}  # distribution -> module


#: What each extra is for. Those that only people who change the code need are left out.
EXTRAS_FOR = {
    "ctr": "this program's own models, data and reports",
    "verdict": "mdaf-phase4",
    "plots": "mdaf-study plot",
    "racing": "hydra/sweeper/sampler=racing",
    "gp": "hydra/sweeper/sampler=gp",
    "parquet": "mdaf-study trials --format parquet",
    "onnx": "mdaf-export",
    "dashboard": "mdaf-study dashboard",
    "joblib": "hydra/launcher=joblib",
    "slurm": "hydra/launcher=submitit_slurm",
    "ray": "hydra/launcher=ray",
    "postgres": "sweep.storage=postgresql+psycopg://",
    "mysql": "sweep.storage=mysql+pymysql://",
    "cuda": "the scan of mamba-ssm on a GPU",
    "python": "mdaf.study(name) as a pandas frame",
    "tensorboard": "tracker=tensorboard",
    "mlflow": "tracker=mlflow",
    "wandb": "tracker=wandb",
    "aim": "tracker=aim",
}


def install(*names: str) -> str:
    """The line to type that installs these extras, or packages that are none, into the Python that runs."""
    wanted = dict.fromkeys(requirement for name in names for requirement in _requirements(name) or [name])
    return shlex.join([sys.executable or "python", "-m", "pip", "install", *wanted])


def require(extra: str, what: str) -> None:
    """UserError with the line to type unless everything that an extra brings is installed.

    ``what``  needs it, say a command.
    """
    others, absent = _lacking(extra)
    if others:
        raise UserError(f"{what} needs the extra [{extra}], and found {', '.join(others)}: {install(extra)}")
    if absent:
        raise UserError(
            f"{what} needs the extra [{extra}], of which {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not "
            f"installed: {install(extra)}"
        )


def missing_of(extra: str) -> list[str]:
    """What of an extra is not installed, and what is installed in another version than it needs."""
    others, absent = _lacking(extra)
    return [*(f"another version than {one}" for one in others), *absent]


def _lacking(extra: str) -> tuple[list[str], list[str]]:
    """Of what an extra brings: what is installed in a wrong version, and what is not installed."""
    wanted = {one.name: one for one in map(Requirement, _requirements(extra))}
    for_all = {one.name for one in _declared() if one.marker is None}
    others = [
        f"{name} {found}"
        for name in wanted
        if name in for_all and (found := _another_version(wanted[name])) is not None
    ]
    return others, [name for name in wanted if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    module = MODULES.get(name, name.replace("-", "_"))
    if name.startswith("hydra-") and name.endswith("-launcher"):
        module = f"hydra_plugins.{module}"
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package above it
        return False


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
