"""Reads the command line before Hydra does: misspelt flags, words and groups, a forgotten ``-m``; a line each."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Collection, Sequence, Set
from importlib import resources
from typing import NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf

from mdaf.conf import options
from mdaf.errors import UserError, did_you_mean
from mdaf.hydra_internals import command_line_parser
from mdaf.messages.secrets import masked
from mdaf.naming.config_keys import key_question, keys_of
from mdaf.naming.studies import DEFAULT_STORAGE
from mdaf.sweeper.corrections import instead_of_add, instead_of_config_name, instead_of_flag, instead_of_word
from mdaf.sweeper.hydra_ext.overrides import choice_of, meant, same
from mdaf.terminal.programs import program

OPTUNA_SWEEP = "hydra/sweeper=regularization"
# Keys of `sweep` that steer a sweep; the others are read by the jobs as well.
_OF_A_SWEEP = re.compile(r"sweep\.(workers|max_failures|timeout|target|plateau|force)\b|hydra[./]sweep(er)?\b")
_OF_ITS_JOBS = re.compile(r"hydra[./]launcher\b")
_OF_A_GRID = re.compile(r"hydra\.sweeper\.(max_batch_size|params|_target_)\b|hydra/sweeper$|hydra\.sweep\.")
_OF_HYDRA = {name.rpartition("/")[2]: name for name in ("hydra/launcher", "hydra/sweeper", "hydra/sweeper/sampler")}
_OF_HYDRA["pruner"] = "hydra/sweeper/pruner"
_INSTEAD = ("help", "hydra_help", "cfg", "shell_completion", "info", "experimental_rerun")  # flags that start no run


def check(words: Sequence[str], config: type, *, sweeps: bool = True, commands: Sequence[str] = ()) -> None:
    """Raises UserError at the first word that cannot be meant as it was typed.

    ``config``    the schema of the program's config
    ``sweeps``    whether the program has sweeps, which ``-m`` starts
    ``commands``  first words that are commands of their own
    """
    arguments = _parser(words, config).parse_intermixed_args(list(words))
    typed = [override for word in arguments.overrides if (override := _parsed(word)) is not None]
    keys = {override.key_or_group for override in typed}
    # A user's own files may add groups and keys, and choose another sweeper.
    own_folder = arguments.config_dir or arguments.config_path or "hydra.searchpath" in keys
    if arguments.config_name and not own_folder:
        _check_config_name(arguments.config_name)
    own_files = bool(own_folder or arguments.config_name)
    if not own_files:
        _check_names(arguments.overrides, typed, config, commands)
    for override in typed:
        _check_once(override)
        if override.key_or_group == "alert.command":
            _check_is_text(override)
    if sweeps and "hydra.mode" not in keys and not any(getattr(arguments, name) for name in _INSTEAD):
        _check_mode(words, typed, arguments.multirun, has_optuna=own_files)
        if arguments.multirun and not own_files:
            _check_swept(words, typed)
            if any(override.key_or_group == "hydra/sweeper" and override.value() != "basic" for override in typed):
                _check_storage({"sweep.storage", "hydra.sweeper.storage"}, keys)
    elif "storage" in keys_of(OmegaConf.structured(config)) and not own_files:
        _check_storage({"storage"}, keys)


def _check_storage(of_the_command: Set[str], typed: Collection[str]) -> None:
    """Refuses a command that would use another database than ``MDAF_STORAGE``, which ``mdaf-study`` will ask.

    ``of_the_command``  the keys that set its database.
    """
    named = os.environ.get("MDAF_STORAGE") or DEFAULT_STORAGE
    if named != DEFAULT_STORAGE and of_the_command.isdisjoint(typed):
        key = max(of_the_command)
        raise UserError(
            f"MDAF_STORAGE is {masked(named)}, which mdaf-study asks, and this command would use {DEFAULT_STORAGE}; "
            f'type {key}="$MDAF_STORAGE" too, or unset MDAF_STORAGE'
        )


def _check_config_name(name: str) -> None:
    """Refuses a config to start from that is not there."""
    if not resources.files("mdaf.conf").joinpath(f"{name.removesuffix('.yaml')}.yaml").is_file():
        raise UserError(f"--config-name {name}: there is no such config{instead_of_config_name(name)}")


def _check_names(words: Sequence[str], typed: Sequence[Override], config: type, commands: Sequence[str]) -> None:
    """Refuses words that are no override, and groups and options that are none."""
    for number, word in enumerate(words):
        if "=" not in word and not word.startswith("~"):
            raise UserError(_not_understood(words, number, config, commands))
    known = keys_of(OmegaConf.structured(config))
    groups = options.groups()
    for override in typed:
        key, line = override.key_or_group, override.input_line
        if key in groups:
            check_option(override)
        elif key.startswith("sweep.") and key not in known and not override.is_add():
            raise UserError(f"{line}: there is no such key{_meant_below(key, line, config)}")
        elif not (override.is_add() or override.is_force_add() or "." in key or key in known or key == "hydra"):
            _refuse_group(key, line, {*(one for one in known if "." not in one), *groups}, config)


def _refuse_group(key: str, line: str | None, known: Collection[str], config: type) -> None:
    """UserError for a group or a key of the root that this program does not have, unless a plugin may have it."""
    if whole := _OF_HYDRA.get(key.rpartition("/")[2]):
        raise UserError(f"{line}: there is no group {key}; did you mean {whole}={(line or '').partition('=')[2]}?")
    meant = did_you_mean(key, known) or _meant_below(key, line, config)
    if meant or "/" not in key:
        raise UserError(f"{line}: there is no group or key {key}{meant or f'; {program()} --help lists them'}")


def check_option(override: Override) -> None:
    """Refuses what is no option of its group, where Hydra would say so late, or say something else."""
    key, line = override.key_or_group, override.input_line
    if (override.is_add() or override.is_force_add()) and override.package is None:
        raise UserError(instead_of_add(override))
    swept, known = override.value(), options.options_of(key)
    named = [meant(choice_of(one)) for one in swept.list] if isinstance(swept, ChoiceSweep) else []
    listed = swept if isinstance(swept, list) else [swept]
    if not override.is_delete() and any(one is None or isinstance(one, bool | int | float) for one in listed):
        raise UserError(f"{line}: no such option, expected one of {', '.join(known)}; leave it out for the default")
    for value in [*named, swept]:
        if not isinstance(value, str) or (options.is_option(value) and "/" not in value and value not in named):
            continue
        if value in known or (value in named and key.startswith("hydra/")):  # of which plugins have more
            continue
        file = (
            f"; a file of yours is typed as data=event_log data.path={value}" if key == "data" and "/" in value else ""
        )
        raise UserError(
            f"{line}: no such option, expected one of {', '.join(known)}"
            f"{file or did_you_mean(value, known, '' if named else f'{key}=')}"
        )


def _not_understood(words: Sequence[str], number: int, config: type, commands: Sequence[str]) -> str:
    """What is wrong with a word that is no override, and what to type instead."""
    word, rest = words[number], words[number + 1 :]
    if word in commands:
        return f"{word!r} is a command, which comes first; type {program()} {word} ..."
    expected = f"expected {'a command, ' if commands and number == 0 else ''}key=value or group=option"
    meant = did_you_mean(word, commands) if number == 0 and "." not in word else ""
    meant = meant or instead_of_word(word, words[:number], rest, config) or f"; {program()} --help lists them"
    return f"{word!r} is not understood, {expected}{meant}"


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


def _check_is_text(override: Override) -> None:
    """Refuses words of a program's line that Hydra reads as values whose text is another one, such as false or 1e3."""
    line, values = str(override.input_line), override.value()
    typed = [word.strip() for word in line.partition("=")[2].strip("[]").split(",")]
    if not isinstance(values, list) or len(values) != len(typed):
        return
    other = [not isinstance(value, str) and str(value) != word for value, word in zip(values, typed, strict=True)]
    if any(other):
        key, found = override.key_or_group, typed[other.index(True)]
        words = [f'"{word}"' if is_other else word for word, is_other in zip(typed, other, strict=True)]
        instead = shlex.quote(f"{key}=[{','.join(words)}]")
        raise UserError(f"{line}: {key} is a list of words, and {found} is read as a value; type {instead}")


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


def _check_swept(words: Sequence[str], typed: Sequence[Override]) -> None:
    """Refuses ``-m`` where nothing has several values. A launcher may need it for one run, an experiment may sweep.

    A script may have a list of seeds with one seed in it.
    """
    swept = any(override.is_sweep_override() for override in typed)
    keys = {override.key_or_group for override in typed}
    if swept or any(key in ("experiment", "seed") or key.startswith("hydra") for key in keys):
        return
    kept = [word for word in words if word not in ("-m", "--multirun")]
    one, sweep = (f"{program()} {shlex.join([*start, *kept])}".rstrip() for start in ([], ["-m", OPTUNA_SWEEP]))
    raise UserError(f"-m: nothing has several values; type {one} for one run, or {sweep} for a sweep")


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


def _parser(words: Sequence[str] = (), config: type | None = None) -> argparse.ArgumentParser:
    """Hydra's parser of flags, whose mistakes are one line."""
    parser = command_line_parser()
    flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]

    def error(message: str) -> NoReturn:
        meant = ""
        if glued := next((word for word in words if re.fullmatch(r"-\w\w+", word)), None):  # -multirun
            meant = did_you_mean(f"-{glued}", flags)
        if unknown := re.match(r"unrecognized arguments: (-\S+)", message):
            flag = unknown[1]
            meant = did_you_mean(flag.partition("=")[0], flags, cutoff=0.75)
            rest = words[words.index(flag) + 1 :] if flag in words else ()
            meant = meant or ("" if config is None else instead_of_flag(flag, rest, config))
        raise UserError(f"{message}{meant or f'; {program()} --help lists keys, --hydra-help flags'}")

    parser.error = error  # type: ignore[method-assign]
    return parser
