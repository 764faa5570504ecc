"""Chooses the run folder of a command: a new one, or with ``resume=auto`` that of the latest run of the same command.

A config asks for it with ``${newest:RESUME,KIND,FOLDER,OVERRIDES,MODE}``. FOLDER is the name of a new folder, such as
``runs/single/2026-11-23/10-30-00``. With ``resume=auto`` the folders ``runs/single/*/*`` are searched for the latest
run with the same OVERRIDES. A new folder is created at once, so that no other command gets it. If another command began
in the same second, it is called ``10-30-00-2``. MODE is Hydra's mode; it is null if the config is only shown, and then
no folder is created.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mdaf.files.plain import plain_text
from mdaf.hydra_internals import register_resolver
from mdaf.messages.secrets import masked_value

# The file in which Hydra records the typed overrides of a run or of a sweep, and the keys that lead to them.
TYPED_IN: dict[str, tuple[Path, tuple[str, ...]]] = {
    "run": (Path(".hydra/overrides.yaml"), ()),
    "multirun": (Path("multirun.yaml"), ("hydra", "overrides", "task")),
}


def register() -> None:
    """Makes ``${newest:...}`` known to OmegaConf. Calling it again changes nothing."""
    register_resolver("newest", run_folder_for, use_cache=True)


def run_folder_for(resume: str, kind: str, folder: str, overrides: Iterable[str], mode: object) -> str:
    """The run folder of a command: the latest one of the same command if ``resume`` is auto, else a new one."""
    if resume == "auto":
        wanted = _identifying(overrides)
        for run in sorted(Path(folder).parent.parent.glob("*/*"), key=_start_of, reverse=True):
            if (typed := _overrides_of(run, kind)) is not None and _identifying(typed) == wanted:
                return str(run)
    return folder if mode is None else _create(folder)


def _create(folder: str) -> str:
    """Creates ``folder``, or the first of ``folder-2``, ``folder-3``, ... that does not exist, and returns its name."""
    name, number = folder, 1
    while True:
        try:
            Path(name).mkdir(parents=True)
        except OSError:  # if it cannot be created, the run raises an error when it writes
            if Path(name).is_dir():
                number += 1
                name = f"{folder}-{number}"
                continue
        return name


def _start_of(run: Path) -> list[list[str | int]]:
    """A sort key of run folders, by their start: the last two levels of the path, with numbers compared as numbers."""
    levels = (re.split(r"(\d+)", name) for name in run.parts[-2:])
    return [[int(part) if part.isdecimal() else part for part in level] for level in levels]


def _identifying(overrides: Iterable[str]) -> list[str]:
    """The overrides without ``resume=``, in their order, since the last one of a key is the one that counts."""
    return [masked_value(str(override)) for override in overrides if not str(override).startswith("resume=")]


def _overrides_of(run: Path, kind: str) -> list[str] | None:
    """The typed overrides of the run in a folder; None if there is no run, or its file cannot be read."""
    file, keys = TYPED_IN[kind]
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(plain_text(run / file)))
        for key in keys:
            content = content[key]
    except Exception:  # a damaged file can raise anything
        return None
    return [str(override) for override in content] if isinstance(content, list) else None


register()  # at import too, because a process that a launcher starts reads its config first
