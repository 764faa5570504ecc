"""How errors are reported: a user's mistake as one line and exit code 2, anything else with its traceback."""

from __future__ import annotations

import ast
import errno
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from mdaf.errors import DataError, StoppedError, UserError, did_you_mean, text_of
from mdaf.extras import install
from mdaf.messages.logs import keep_traceback
from mdaf.messages.secrets import masked_text
from mdaf.naming.config_keys import refused_key
from mdaf.processes import signals
from mdaf.processes.children import SAFE_PATH, SAFE_PATH_IS_OURS, is_spoken_for
from mdaf.processes.interruption import environment, how_to_go_on, is_typed
from mdaf.terminal.printable import in_a_line

EXIT_USER_ERROR = 2
BEGINS_AGAIN = "nothing is left half written: the same command begins again"

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SAID_BY_THE_SYSTEM = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)
_COMPOSING = ("hydra", "omegaconf")
_CHOICES = re.compile(r"(?:=\S*: )?Invalid value '(?P<found>[^']*)', expected one of (?P<known>\[[^\]]*\])")
_ENTRY = re.compile(r"invalid literal for int\(\) with base 10: '([^']*)'")  # a list's entry that is no number
_BELOW_A_VALUE = re.compile(r"(\S+?)=.*?: (?:found one value, expected one text|found \{\}, expected .*)")
_PARENT = re.compile(r"In '(?!(?:hydra/)?config'|phase4')(?P<file>[^']+)': ")  # another file than the primary one
_OF_PARSER = "(?:no viable alternative|extraneous input|mismatched input|missing |token recognition error)"
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "outofmemoryerror")

# Hydra's own switch for tracebacks, as the user set it: a process that one of ours started finds it as that one did.
OWN_SWITCH = "MDAF_HYDRA_RAISES"
TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0") and OWN_SWITCH not in os.environ


def one_line(error: BaseException) -> str:
    """The message of ``error`` on one line: which key, what was found, what was expected, what to type instead."""
    if refused := refused_key(error, sys.argv[1:]):
        return refused
    if missing := re.match(r"Unknown plugin class : '(?:hydra_plugins\.hydra_(\w+?)_launcher)\b", text_of(error)):
        name, extra = missing[1], {"submitit": "slurm"}.get(missing[1], missing[1])
        return f"hydra/launcher: hydra-{name}-launcher is not installed; {install(extra)}"
    if several := _several_options(text_of(error), sys.argv[1:]):
        return several
    if not_a_number := _ENTRY.fullmatch(text_of(error)):
        return _entry_of_a_list(not_a_number[1], sys.argv[1:])
    return _composition_message(error)


def _several_options(text: str, arguments: Iterable[str]) -> str | None:
    """The message where a list names options of a group that exclude each other, as in ``model=[din,bst]``."""
    if (place := re.match(r"In '([\w/]+)/\w+': \w+ raised while composing config", text)) is None:
        return None
    typed = next((argument for argument in arguments if re.match(rf"\+?{place[1]}=\[", argument)), None)
    return None if typed is None else _one_run_each(f"{typed}: found a list, expected one option")


def _one_run_each(text: str) -> str:
    """A message that says where a list was typed for one value, with what to type for a run with each entry."""
    found = re.match(r"(\S+?)=\[([^\[\]{}=]+)\]: (?:found|Invalid value) .*, expected ", text)
    if found is None:
        return text
    values = [value.strip() for value in found[2].split(",")]
    if len(values) == 1:
        return f"{text}; type {found[1]}={values[0]}"
    return f"{text}; for a run with each, type -m {found[1]}={','.join(values)}"


def _entry_of_a_list(entry: str, arguments: Iterable[str]) -> str:
    """The message where an override names an entry of a list by a word. OmegaConf says the word alone."""
    keys = [argument.partition("=")[0].lstrip("+~") for argument in arguments]
    key = next((key for key in keys if entry in key.split(".")[1:]), entry)
    the_list = key.partition(f".{entry}")[0] if key != entry else "it"
    return f"{key}: found {entry}, but {the_list} is a list; expected the number of an entry, from 0, or the whole list"


def _composition_message(error: BaseException) -> str:
    """The message of ``error`` on one line, without what Hydra and OmegaConf add, with the cause that they hide."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        return _no_such_option(error, error.missing_cfg_file, error.options)
    parts = [text_of(error)]
    if isinstance(error, HydraException) and error.__cause__ is not None:
        parts.append(text_of(error.__cause__))
    lines = [line.strip() for part in parts for line in part.split("Config search path:")[0].splitlines()]
    kept = [line for line in lines if line and not re.match(r"(reference_type|object_type|full_key)\b", line)]
    keys = [line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")]
    text = "; ".join(dict.fromkeys(kept)).replace(":; ", ": ") or type(error).__name__
    text = re.sub(r"^Error merging override (.*?); ", r"\1: ", text)
    text = re.sub(r"^Error when parsing index: \d+, string: (.*?) out of \[.*?\]\.; ", r"\1: cannot be read; ", text)
    text = re.sub(r"LexerNoViableAltException: (.*); \^", lambda found: _unreadable(found[1]), text)
    text = re.sub(r"^(\S+?)==(.*?): cannot be read; .*", r"\1==\2: found two equals signs; type \1=\2", text)
    text = re.sub(rf"^(.*?): cannot be read; (?:Error parsing override .*?; )?{_OF_PARSER}.*", _of_parser, text)
    text = re.sub(r"Value '(.*?)' of type '\w+' could not be converted to (\w+)", _of_other_type, text)
    text = _of_other_shape(text)
    text = re.sub(r"; See https://hydra.cc\S* for details", "", text)
    if match := _CHOICES.search(text):
        choices = [str(choice) for choice in ast.literal_eval(match["known"])]
        found = f"found {match['found']}, expected one of {', '.join(choices)}{did_you_mean(match['found'], choices)}"
        before = text[: match.start()]
        text = before + (": " if match[0].startswith("=") else "") + found + text[match.end() :]
    if keys and (match := _BELOW_A_VALUE.fullmatch(text)) and match[1].lstrip("+").startswith(f"{keys[0]}."):
        return f"{match[1].lstrip('+')}: {keys[0]} is one value, with no keys below it; set {keys[0]} itself"
    return f"{keys[0]}: {text}" if keys and keys[0] not in text else _one_run_each(text)


def _of_parser(found: re.Match[str]) -> str:
    """What is said of an override that Hydra's parser cannot read, in place of the parser's own words."""
    return f"{found[1]}: {_not_closed(found[1]) or _unreadable(found[1])}"


def _not_closed(override: str) -> str | None:
    """What to type where a list or a dict has no end, or one too many."""
    open_ones: list[str] = []
    for character in re.sub(r"\"[^\"]*\"|'[^']*'", "", override.partition("=")[2]):
        if character in "[{":
            open_ones.append("]" if character == "[" else "}")
        elif character in "]}" and (not open_ones or open_ones.pop() != character):
            return f"found a {character} that nothing opens; type it without"
    end = "".join(reversed(open_ones))
    return f"found no {' and no '.join(end)} at its end; type {shlex.quote(override + end)}" if end else None


def _of_other_type(found: re.Match[str]) -> str:
    """What was found and expected, where OmegaConf says which type it could not convert to."""
    expected = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}.get(found[2], found[2])
    return f"found {found[1] or 'nothing'}, expected {expected}"


def _of_other_shape(text: str) -> str:
    """What was found and expected where a value, a list and a node with keys of its own were taken for each other."""
    found = re.match(r"(?P<key>\S+?)=(?P<value>.*?): (?P<why>\D.*)", text)
    if found is None:
        return text
    key, value, why = found["key"], found["value"], found["why"]
    shape = {"[": "a list", "{": "a mapping"}.get(value[:1], "one value")
    if re.match(r"Invalid value assigned: \w+ is not a ListConfig", why):
        word = f'"{value}"' if value in ("true", "false", "null") else value
        said = f"found one value, expected a list; type {shlex.quote(f'{key}=[{word}]')}"
    elif why.startswith("Invalid type assigned: ") or (
        why.startswith("Cannot merge incompatible") and shape == "a list"
    ):
        said = f"found {shape}, but {key} has keys of its own; set them, as {key}.KEY=VALUE"
    elif why.startswith("Cannot merge incompatible"):
        said = f"found {shape}, expected a list, as '{key}=[VALUE]'"
    elif re.match(r"Cannot convert '(list|dict)' to string", why):
        said = f"found {shape}, expected one text"
    elif re.fullmatch(r"field '.*' is not Optional", why):
        said = "found null, expected a value"
    else:
        return text
    return f"{key}={value}: {said}"


# An element of a list that needs double quotes: one with a letter beyond ASCII, an apostrophe or a =, and one in single
# quotes, which are the shell's. An element in double quotes is passed over.
_WORD = re.compile(
    r"""
    "[^"]*" | (?<!\w)'(?P<single>[^'"]*)'
    | (?P<bare> [^\[\]{},:"'=]*\w'\w[^\[\]{},:"'=]* | [^\[\]{},:"']*[^\x00-\x7f][^\[\]{},:"']*
    | [^\[\]{},"'=]+=(?:\[[^\[\]"']*\]|[^\[\]{},"'])* )
    """,
    re.VERBOSE,
)


def _in_double_quotes(element: re.Match[str]) -> str:
    text = element["bare"] or element["single"]
    return f'"{text.strip()}"' if text else element[0]


def _unreadable(override: str) -> str:
    """What to type instead of an override with a character that Hydra's grammar does not allow."""
    if "=~" in override:
        return f"a ~ is not expanded within an override, type {override.replace('=~', '=$HOME')}"
    key, equals, value = override.partition("=")
    if not equals:
        return f"found no value; type {key}=VALUE"
    if value.startswith("["):
        value = _WORD.sub(_in_double_quotes, value)
        return f"words with such characters need quotes, type {shlex.quote(f'{key}={value}')}"
    if value.startswith("{"):
        return "words with such characters need quotes, and keys cannot have them here: write those in a file"
    quoted = re.fullmatch(r"'(.*)'|\"(.*)\"", value, re.DOTALL)
    text = (quoted[1] or quoted[2] or "") if quoted else value
    in_quotes = '"' + text.replace('"', r"\"") + '"'
    return f"a value with such characters needs quotes of its own, type {shlex.quote(f'{key}={in_quotes}')}"


def _no_such_option(error: MissingConfigException, path: str, options: Iterable[str]) -> str:
    """The message about an option that its config group does not have."""
    group, _, name = path.rpartition("/")
    parent = _PARENT.match(text_of(error))
    where = f"{parent['file']}: " if parent else ""
    meant = did_you_mean(name, options, f"{group}=")
    return f"{where}{group}={name}: no such option, expected one of {', '.join(options)}{meant}"


@contextmanager
def reported_in_one_line(interrupted: str | None = None) -> Iterator[None]:
    """Prints errors that a user can correct as one line on standard error and exits; other errors pass through.

    The traceback of either goes to the run's log. An interruption by a signal is one line, too. With
    HYDRA_FULL_ERROR=1 all errors pass through with their tracebacks.

    ``interrupted``  what is said of an interruption; None: that what is done is saved, and how to go on.
    """
    try:
        with signals.listening(), _hydra_raises():
            yield
    except signals.Interrupted as error:
        _say_the_end(f"interrupted {error}; {interrupted or f'what is done is saved: {how_to_go_on()}'}")
        raise SystemExit(signals.EXIT_RESUMABLE) from None
    except KeyboardInterrupt:
        _say_the_end("interrupted")
        raise SystemExit(signals.EXIT_AT_ONCE) from None
    except Exception as error:
        keep_traceback(error)
        if TRACEBACKS or not (said := in_one_line(error)):
            raise
        print(f"error: {in_a_line(said)}", file=sys.stderr)
        raise SystemExit(exit_code_of(error)) from None


@contextmanager
def reported_to_other_programs() -> Iterator[None]:
    """The same for parts of this program within another Hydra program, where Hydra would print a traceback and exit 1.

    Errors pass through where Hydra raises them: in this program's own commands, and with HYDRA_FULL_ERROR=1. So do the
    errors of the other program's jobs, which Hydra reports.
    """
    try:
        yield
    except signals.Interrupted as error:
        if _is_hydra_raising():
            raise
        _say_the_end(f"interrupted {error}; the same command goes on")
        raise SystemExit(signals.EXIT_RESUMABLE) from None
    except Exception as error:
        if _is_hydra_raising() or not (said := in_one_line(error)) or _is_of_a_job(error):
            raise
        print(f"error: {in_a_line(said)}", file=sys.stderr)
        raise SystemExit(exit_code_of(error)) from None


def _is_hydra_raising() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def _is_of_a_job(error: Exception) -> bool:
    """Whether a job raised it, and not this program within the job."""
    if isinstance(error, UserError | DataError | StoppedError):
        return False
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(f.f_globals.get("__name__") == "hydra.core.utils" and "run_job" in f.f_code.co_name for f in frames)


def _say_the_end(line: str) -> None:
    if not is_spoken_for():
        print(line, file=sys.stderr)


def in_one_line(error: Exception) -> str | None:
    """The line that the user sees for an error, without passwords; None if only the traceback explains the error."""
    if is_user_error(error) or isinstance(error, StoppedError):
        return masked_text(one_line(error))
    if is_out_of_memory(error):
        halve = "halve device.micro_batch, which changes no result but its rounding"
        free = f"where the device has more memory free, {how_to_go_on()}"
        return masked_text(f"{one_line(error)}; {halve if is_typed() else free}")
    if isinstance(error, OSError) and error.filename is not None and error.errno in SAID_BY_THE_SYSTEM:
        return f"{os.fsdecode(error.filename)}: {os.strerror(error.errno)}; choose another folder, or make room"
    if isinstance(error, OSError) and error.errno in FULL:  # a write does not name its file
        return f"a file cannot be written: {os.strerror(error.errno)}; make room, then type the same command again"
    return None


def exit_code_of(error: Exception) -> int:
    """The exit code: 2 for a user's mistake, its own for a ``StoppedError``, else 1."""
    if is_user_error(error):
        return EXIT_USER_ERROR
    return error.exit_code if isinstance(error, StoppedError) else 1


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether this error, or one that caused it, says that the memory of a device is full."""
    while error is not None:
        text = f"{type(error).__name__} {text_of(error)}".lower()
        if isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Makes Hydra raise exceptions. Without this variable it prints several lines and ends the process itself."""
    set_here = {"HYDRA_FULL_ERROR": "1"} if TRACEBACKS else {"HYDRA_FULL_ERROR": "1", OWN_SWITCH: "1"}
    with environment(set_here):
        yield


def environment_of_user() -> dict[str, str]:
    """This process's environment as its user set it: for a program of somebody else, with its own ways to report."""
    ours = {OWN_SWITCH, SAFE_PATH_IS_OURS}
    ours |= {"HYDRA_FULL_ERROR"} if OWN_SWITCH in os.environ else set()
    ours |= {SAFE_PATH} if SAFE_PATH_IS_OURS in os.environ else set()
    return {name: value for name, value in os.environ.items() if name not in ours}


def is_interruption(error: BaseException) -> bool:
    """Whether a job ended for an outside reason: a signal, or a machine that was too slow or full."""
    return isinstance(error, KeyboardInterrupt) or getattr(error, "exit_code", None) == signals.EXIT_RESUMABLE


def is_user_error(error: BaseException) -> bool:
    """Whether the message alone tells a user what to correct."""
    kinds = UserError | DataError | HydraException | OmegaConfBaseException
    return isinstance(error, kinds) or (not isinstance(error, OSError) and _is_refused_by_hydra(error))


def _is_refused_by_hydra(error: BaseException) -> bool:
    """Whether an error of a general type came from Hydra or OmegaConf while they parsed overrides and configs."""
    walked = [
        frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return next((name for name in reversed(walked) if name not in sys.stdlib_module_names), None) in _COMPOSING
