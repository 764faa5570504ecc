"""Which folder a command's run gets: a new one, or with ``resume=auto`` that of the newest run of the same command.

``${newest:RESUME,KIND,FOLDER,OVERRIDES,MODE}`` in a config is FOLDER, such as ``runs/single/2026-11-23/10-30-00``, or a
sibling of it with the same two last levels whose run was typed with the same OVERRIDES. A new one is this command's
alone: it is made at once, as ``10-30-00-2`` if another command began in the same second. MODE is Hydra's, and null
where the config is shown and nothing runs; then nothing is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mdaf.plain_files import plain_text
from mdaf.secrets import masked_value

# Where Hydra writes what was typed, and below which keys.
TYPED_IN: dict[str, tuple[Path, tuple[str, ...]]] = {
    "run": (Path(".hydra/overrides.yaml"), ()),
    "multirun": (Path("multirun.yaml"), ("hydra", "overrides", "task")),
}


def register() -> None:
    """Makes ``newest`` known to OmegaConf. Idempotent."""
    OmegaConf.register_resolver("newest", run_folder_for, use_cache=True, replace=True, annotation_validation="off")


def run_folder_for(resume: str, kind: str, folder: str, overrides: Iterable[str], mode: object) -> str:
    """A new folder, or with ``resume`` auto the newest sibling of ``folder`` that is a run of the same command."""
    if resume == "auto":
        wanted = _what_matters(overrides)
        for run in sorted(Path(folder).parent.parent.glob("*/*"), key=_age, reverse=True):
            if (typed := _typed(run, kind)) is not None and _what_matters(typed) == wanted:
                return str(run)
    return folder if mode is None else _made(folder)


def _made(folder: str) -> str:
    """``folder`` or the first of ``folder-2``, ``folder-3``, ... that was not there, made by this very call."""
    name, number = folder, 1
    while True:
        try:
            Path(name).mkdir(parents=True)
        except OSError:  # where nobody can make it, the run says so when it tries to write
            if Path(name).is_dir():
                number += 1
                name = f"{folder}-{number}"
                continue
        return name


def _age(run: Path) -> list[list[str | int]]:
    """What orders run folders by when they began: the numbers in their names count as numbers."""
    levels = (re.split(r"(\d+)", name) for name in run.parts[-2:])
    return [[int(part) if part.isdecimal() else part for part in level] for level in levels]


def _what_matters(overrides: Iterable[str]) -> list[str]:
    """Overrides without those that say how a run goes on; the last of each key counts, so their order is kept."""
    return [masked_value(str(override)) for override in overrides if not str(override).startswith("resume=")]


def _typed(run: Path, kind: str) -> list[str] | None:
    """The overrides of a run in a folder; None if it is none, or what is there cannot be read."""
    file, keys = TYPED_IN[kind]
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(plain_text(run / file)))
        for key in keys:
            content = content[key]
    except Exception:  # whatever a file that somebody damaged makes the reader raise
        return None
    return [str(override) for override in content] if isinstance(content, list) else None


register()  # at import too: a process that a launcher starts reads its config before it runs anything of ours
