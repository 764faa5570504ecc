"""What may be typed at the end of a command line: words, groups and their options, keys, flags, names of studies.

Everything comes from the installed program. Of a study database only names are read that a shell does not expand.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from mdaf.naming.studies import DEFAULT_STORAGE
from mdaf.terminal.programs import SCRIPTS, WORDS

_PARSERS = {  # word -> the functions that make its parsers, by the word after it
    "predict": {"": "mdaf.sweeper.predict.cli:_parser"},
    "export": {"": "mdaf.sweeper.export.cli:_parser"},
    "evaluate": {"": "mdaf.sweeper.evaluate:_parser"},
    "data": {"": "mdaf.data.__main__:_parser"},
    "runs": {"": "mdaf.sweeper.run_folders.cli:_list_parser", "clean": "mdaf.sweeper.run_folders.cli:_clean_parser"},
    "doctor": {"": "mdaf.sweeper.doctor.cli:_parser"},
}
_OF_HYDRA = ("hydra/launcher", "hydra/sweeper", "hydra/sweeper/sampler", "hydra/sweeper/pruner")
_IN_A_SHELL = re.compile(r"[\w.=@+-]{1,200}", re.ASCII)
_IN_AN_OVERRIDE = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)  # needs no quotes of Hydra's


def candidates(line: str) -> list[str]:
    """What may stand in the place of the last word of ``line``, which may be empty. The first word is the program."""
    words = line.split(" ")
    program, before, last = Path(words[0]).name, [word for word in words[1:-1] if word], words[-1]
    if len(words) < 2 or program not in SCRIPTS.values():
        return []
    word = program.removeprefix("mdaf-") if program != "mdaf" else ""
    if not word and before and before[0] in WORDS:
        word = before.pop(0)
    found = _of(word, before, last)
    return sorted({one for one in found if one.startswith(last)})


def _of(word: str, before: Sequence[str], last: str) -> Iterable[str]:
    if word == "study":
        return _of_typer("mdaf.sweeper.study.cli:app", before, last)
    if word == "phase4" and before and before[0] in ("verify", "summarize"):
        return _of_typer("mdaf.multirun.commands:app", before, last)
    if word == "completion":
        return ("bash", "zsh", "fish")
    if word in _PARSERS:
        parsers = _PARSERS[word]
        taken = before[0] if before and before[0] in parsers else ""
        first = [name for name in parsers if name] if not before else []
        return [*first, *_of_parser(_made(parsers[taken]), before, last)]
    return _of_overrides(word, before, last)


def _of_overrides(word: str, before: Sequence[str], last: str) -> list[str]:
    """Of ``mdaf``, ``mdaf check`` and ``mdaf phase4``."""
    from mdaf import conf
    from mdaf.conf import options, schema
    from mdaf.naming.config_keys import keys_of, keys_of_options

    conf.register()
    if last.startswith("-"):
        return _flags(_made("mdaf.sweeper.command_line:_parser"))
    group, equals, _ = last.lstrip("+~").partition("=")
    sign = last[: len(last) - len(last.lstrip("+~"))]
    if word == "phase4" and group == "study" and equals:
        return [f"study={name}" for name in studies() if _IN_AN_OVERRIDE.fullmatch(name)]
    if equals:
        known = options.groups() if word != "phase4" else []
        return [f"{sign}{group}={option}" for option in _options_of(group)] if group in known else []
    if word == "phase4":
        keys = _leaves(keys_of(OmegaConf.structured(schema.Phase4)))
        return [*(f"{key}=" for key in keys), *(["verify", "summarize"] if not before else [])]
    groups = [name for name in options.groups() if "/" not in name or name in _OF_HYDRA]
    of_options = [key for key in keys_of_options() if key.partition(".")[0] in groups and "._" not in key]
    keys = _leaves([*keys_of(OmegaConf.structured(schema.Config)), *of_options])
    words = [*WORDS] if not word and not before else []
    return [*words, *(f"{sign}{name}=" for name in dict.fromkeys([*groups, *keys]))]


def _options_of(group: str) -> list[str]:
    """The options of a group: files of the tree, and for Hydra's own groups what Python declares besides."""
    from mdaf.conf import options

    found = options.options_of(group)
    if group in _OF_HYDRA:
        from mdaf.sweeper.search import presets

        presets.store()
        declared = [*ConfigStore.instance().list(group), *(presets.samplers() if group.endswith("/sampler") else ())]
        found += [name.removesuffix(".yaml") for name in declared if options.is_option(name)]
    return found


def _leaves(keys: Sequence[str]) -> list[str]:
    """The keys that hold values, not further keys."""
    above = {key.rpartition(".")[0] for key in keys}
    return [key for key in keys if key not in above]


def _of_parser(parser: argparse.ArgumentParser, before: Sequence[str], last: str) -> list[str]:
    """Subcommands, flags and the choices of the flag before."""
    for action in parser._actions:
        if isinstance(action.choices, dict):  # its subcommands
            chosen = next((name for name in before if name in action.choices), None)
            if chosen is None:
                return [*action.choices, *_flags(parser)]
            inner = _of_parser(action.choices[chosen], before[before.index(chosen) + 1 :], last)
            return inner if last.startswith("-") else [*inner, *_of_data(last)]
        if before and before[-1] in action.option_strings and action.choices:
            return [str(choice) for choice in action.choices]
    return _flags(parser) if last.startswith("-") else []


def _of_data(last: str) -> list[str]:
    return [one for one in _of_overrides("check", ["data"], last) if one.startswith("data")]


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    flags = [flag for action in parser._actions for flag in action.option_strings]
    return [flag for flag in flags if flag.startswith("--") or flag == "-m"]


def _of_typer(app: str, before: Sequence[str], last: str) -> list[str]:
    """Commands, their options, and for ``--study`` the names of studies."""
    import typer

    module, _, name = app.partition(":")
    group: Any = typer.main.get_command(getattr(importlib.import_module(module), name))
    if before and before[-1] == "--study":
        return studies()
    command = group.commands.get(before[0]) if before else None
    if command is None:
        return [*group.commands, "--help", "--version"]
    for option in command.params:
        if before[-1] in option.opts and (choices := _choices(option)):
            return choices
    return [flag for option in command.params for flag in option.opts if flag.startswith("--")]


def _choices(option: Any) -> list[str]:
    """The values of an option of a typer command, whichever version of typer made it."""
    annotation = getattr(getattr(option, "type_descriptor", None), "annotation", None)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(choice.value) for choice in annotation]
    return [str(getattr(choice, "value", choice)) for choice in getattr(getattr(option, "type", None), "choices", ())]


def studies() -> list[str]:
    """The names of the studies in the default database; nothing where it cannot be read at once."""
    file = Path(DEFAULT_STORAGE.removeprefix("sqlite:///"))
    if not file.is_file():
        return []
    try:
        connection = sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=0.5)
        try:
            is_table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'studies'"
            if connection.execute(is_table).fetchone() is None:
                return []
            names = [str(name) for (name,) in connection.execute("SELECT study_name FROM studies LIMIT 1000")]
        finally:
            connection.close()
    except sqlite3.Error:
        return []
    return [name for name in names if _IN_A_SHELL.fullmatch(name)]


def _made(path: str) -> argparse.ArgumentParser:
    module, _, name = path.partition(":")
    make: Callable[[], argparse.ArgumentParser] = getattr(importlib.import_module(module), name)
    return make()
