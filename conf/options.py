"""Which files of the tree are options that a user may choose; the others are what these are made of."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable

from mdaf.conf import data_schema, model_schema

SCHEMAS = {f"schema_{name}" for module in (data_schema, model_schema) for name in module.SCHEMAS}


def is_option(name: str) -> bool:
    """Whether a file of a group is an option: neither a schema nor what several options share."""
    return not name.startswith("_") and name not in SCHEMAS


def options_of(group: str) -> list[str]:
    """The options of a group of the tree."""
    files = (file.name for file in resources.files("mdaf.conf").joinpath(group).iterdir())
    return sorted(name[: -len(".yaml")] for name in files if name.endswith(".yaml") and is_option(name))


def groups() -> list[str]:
    """The groups of which the tree holds options, such as ``model`` and ``hydra/sweeper/pruner``."""
    return sorted(_groups_below(resources.files("mdaf.conf"), ""))


def _groups_below(folder: Traversable, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.name.startswith("_"):
            if any(file.name.endswith(".yaml") for file in entry.iterdir()):
                yield f"{prefix}{entry.name}"
            yield from _groups_below(entry, f"{prefix}{entry.name}/")
