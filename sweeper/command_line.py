"""Reads the command line before Hydra does: misspelt flags, words and groups, a forgotten ``-m``; a line each."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
from collections.abc import Sequence
from importlib import resources
from typing import NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf

from mdaf.conf import options
from mdaf.config_keys import key_question, keys_of
from mdaf.errors import UserError, did_you_mean
from mdaf.hydra_internals import command_line_parser
from mdaf.sweeper.hydra_ext.overrides import choice_of, meant, same
from mdaf.terminal.programs import program

OPTUNA_SWEEP = "hydra/sweeper=regularization"
# Keys of `sweep` that steer a sweep; the others are read by the jobs as well.
_OF_A_SWEEP = re.compile(r"sweep\.(workers|max_failures|timeout|target|plateau|force)\b|hydra[./]sweep(er)?\b")
_OF_ITS_JOBS = re.compile(r"hydra[./]launcher\b")
_OF_A_GRID = re.compile(r"hydra\.sweeper\.(max_batch_size|params|_target_)\b|hydra/sweeper$|hydra\.sweep\.")
_INSTEAD = ("help", "hydra_help", "cfg", "shell_completion", "info", "experimental_rerun")  # flags that start no run


def check(words: Sequence[str], config: type, *, sweeps: bool = True, commands: Sequence[str] = ()) -> None:
    """Raises UserError at the first word that cannot be meant as it was typed.

    ``config``    the schema of the program's config
    ``sweeps``    whether the program has sweeps, which ``-m`` starts
    ``commands``  first words that are commands of their own
    """
    arguments = _parser().parse_intermixed_args(list(words))
    typed = [override for word in arguments.overrides if (override := _parsed(word)) is not None]
    keys = {override.key_or_group for override in typed}
    # A user's own files may add groups and keys, and choose another sweeper.
    own_files = arguments.config_dir or arguments.config_name or arguments.config_path or "hydra.searchpath" in keys
    if not own_files:
        _check_names(arguments.overrides, typed, config, commands)
    for override in typed:
        _check_once(override)
    if sweeps and "hydra.mode" not in keys and not any(getattr(arguments, name) for name in _INSTEAD):
        _check_mode(words, typed, arguments.multirun, has_optuna=bool(own_files))


def _check_names(words: Sequence[str], typed: Sequence[Override], config: type, commands: Sequence[str]) -> None:
    """Refuses words that are no override, and groups that are none."""
    keys = {field.name for field in dataclasses.fields(config)}
    for number, word in enumerate(words):
        if "=" not in word and not word.startswith("~"):
            expected = [*(commands if number == 0 else ()), "key=value", "group=option"]
            meant = did_you_mean(word, expected) or f"; {program()} --help lists them"
            raise UserError(f"{word!r} is not understood, expected {' or '.join(expected)}{meant}")
    groups = options.groups()
    for override in typed:
        key, line = override.key_or_group, override.input_line
        if key in groups and isinstance(value := override.value(), str) and not options.is_option(value):
            raise UserError(f"{line}: no such option, expected one of {', '.join(options.options_of(key))}")
        if override.is_add() or override.is_force_add() or "." in key or key in {*keys, *groups, "hydra"}:
            continue
        meant = did_you_mean(key, {*keys, *groups}) or _meant_below(key, line, config)
        if meant or "/" not in key:
            raise UserError(f"{line}: there is no group or key {key}{meant or f'; {program()} --help lists them'}")


def _meant_below(key: str, line: str | None, config: type) -> str:
    """``; did you mean training.epochs=3?`` where somebody left out the nodes above a key."""
    known = keys_of(OmegaConf.structured(config))
    if "sweep" in known:
        sweeper = resources.files("mdaf.conf").joinpath(f"{OPTUNA_SWEEP.replace('=', '/')}.yaml").read_text()
        known += [f"hydra.sweeper.{name!s}" for name in OmegaConf.create(sweeper)]
    return key_question(key, known, (line or "").partition("=")[2])


def _check_once(override: Override) -> None:
    """Refuses a choice that names a value twice: a run that is repeated would count twice in the mean over seeds."""
    swept = override.value()
    if not isinstance(swept, ChoiceSweep):
        return
    values = [meant(choice_of(element)) for element in swept.list]
    for index, value in enumerate(values):
        if any(same(value, before) for before in values[:index]):
            raise UserError(f"{override.input_line}: found {value!r} twice, expected each value once")


def _check_mode(words: Sequence[str], typed: Sequence[Override], multirun: bool, has_optuna: bool) -> None:
    """Refuses what only ``-m``, or only an Optuna sweep, gives a meaning, where that was not typed."""
    sweeper = next((override for override in typed if override.key_or_group == "hydra/sweeper"), None)
    has_optuna = has_optuna or (sweeper is not None and sweeper.value() != "basic")
    needing = [] if has_optuna else [override for override in typed if _needs_optuna(override)]
    kept = [word for word in words if word not in ("-m", "--multirun")]
    if needing:
        kept = [OPTUNA_SWEEP, *(word for word in kept if sweeper is None or word != sweeper.input_line)]
    instead = f"type {program()} {shlex.join(['-m', *kept])}"
    if not multirun:
        _refuse_without_multirun(typed, instead)
    elif needing:
        raise UserError(f"{needing[0].input_line}: only an Optuna sweep reads this; {instead}")


def _refuse_without_multirun(typed: Sequence[Override], instead: str) -> None:
    """Refuses what a single run cannot be given, and what it would not read."""
    for override in typed:
        key, line = override.key_or_group, str(override.input_line)
        if override.value_type is ValueType.SIMPLE_CHOICE_SWEEP:
            values = line.partition("=")[2]
            raise UserError(f"{line}: several values need -m; {instead}; one list is written '{key}=[{values}]'")
        if override.is_sweep_override():
            raise UserError(f"{line}: several values need -m; {instead}")
        if _OF_A_SWEEP.match(key) or _OF_ITS_JOBS.match(key):
            raise UserError(f"{line}: a single run does not read this, it needs -m; {instead}")


def _needs_optuna(override: Override) -> bool:
    """Whether a grid of runs has no use for an override, but an Optuna sweep has."""
    key = override.key_or_group
    of_a_sweep = _OF_A_SWEEP.match(key) is not None and _OF_A_GRID.match(key) is None
    return of_a_sweep or override.value_type is ValueType.INTERVAL_SWEEP


def _parsed(word: str) -> Override | None:
    """The override; None where Hydra will say what is wrong with it."""
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def _parser() -> argparse.ArgumentParser:
    """Hydra's parser of flags, whose mistakes are one line."""
    parser = command_line_parser()
    flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]

    def error(message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (-\S+)", message)
        meant = did_you_mean(unknown[1].partition("=")[0], flags) if unknown else ""
        raise UserError(f"{message}{meant or f'; {program()} --help lists keys, --hydra-help flags'}")

    parser.error = error  # type: ignore[method-assign]
    return parser
