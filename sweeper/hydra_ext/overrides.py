"""Reads and writes the texts of overrides, such as ``training.epochs=3``, with their types. No other file does so.

A value goes from the command line to a job's config, to the study, and back to a command line. Its text always follows
Hydra's grammar, and Hydra's parser decides what a text means.

A study can record only numbers, booleans and strings as choices. Any other choice (a list, a mapping, null, a quoted
string) is recorded as its text, as hydra-optuna-sweeper does. ``meant`` returns the value of such a text.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from mdaf.hydra_internals import value_and_text

SIGNS = "+~"  # before a key, + adds it and ~ deletes it
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.:-]*")
_RESERVED = ("true", "false", "null", "nan", "inf")
_ESCAPED = re.compile(r"[\\()\[\]{}:=, \t]")
_SAME_IN_A_SHELL = re.compile(r"[\w@%+=:,./\[\]-]+", re.ASCII)


# ---- typed


def typed_in(config: DictConfig) -> tuple[list[str], list[str]]:
    """The overrides of a command, those of Hydra's keys and the others, as typed: with interpolations in them."""
    overrides: Any = OmegaConf.to_container(config.hydra.overrides, resolve=False)
    return overrides["hydra"], overrides["task"]


# ---- writing


def hydra_value(value: Any) -> str:
    """The text of a value, from which Hydra reads the same value with the same types. Only strings contain spaces.

    Raises ValueError if the grammar has no text for the value, such as a mapping with an empty key.
    """
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_mapping_key(key)}:{hydra_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(hydra_value(item) for item in value) + "]"
    raise ValueError(f"an override cannot hold {value!r}, which is a {type(value).__name__}")


def _string(value: str) -> str:
    """The text of a string, in quotes if Hydra would otherwise read another type."""
    if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    escaped = re.sub(r"(\\*)('|\Z)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"'{escaped}'"


def _mapping_key(key: Any) -> str:
    """The text of a mapping's key. The grammar does not allow quotes there, so characters are escaped."""
    text = _ESCAPED.sub(r"\\\g<0>", key) if isinstance(key, str) else hydra_value(key)
    try:
        mapping: Any = parsed(f"key={{{text}:0}}").value()
    except HydraException:
        mapping = {}
    if not (isinstance(mapping, dict) and len(mapping) == 1 and same(next(iter(mapping)), key)):
        raise ValueError(f"an override cannot hold a mapping with the key {key!r}: Hydra's grammar has no text for it")
    return text


def choice_of(element: Any) -> Any:
    """An element of a parsed sweep as a study records it: a number, a boolean, or a string that ``meant`` can read."""
    if isinstance(element, bool | int | float):
        return element
    if isinstance(element, str):  # typed without quotes, possibly with backslashes, such as \[UNK\]
        return _string(element) if _is_text(element) else element
    value, text = value_and_text(element)
    return text if same(meant(text), value) else hydra_value(value)


def override_text(key: str, recorded: Any) -> str:
    """The override that sets ``key``, which includes its signs, to a value that a study recorded."""
    return f"{key}={recorded if _is_text(recorded) else hydra_value(recorded)}"


# ---- reading


@functools.lru_cache(maxsize=4096)
def parsed(text: str) -> Override:
    """An override parsed by Hydra.

    Do not change it, since the object is cached. Raises HydraException if it is invalid.
    """
    return OverridesParser.create().parse_override(text)


@functools.lru_cache(maxsize=4096)
def key_of(text: str) -> str:
    """The key that an override sets, without signs. If Hydra cannot parse the text: what precedes the first ``=``."""
    try:
        return parsed(text).get_key_element().lstrip(SIGNS)
    except HydraException:
        return text.lstrip(SIGNS).partition("=")[0]


def extends_list(override: Override) -> bool:
    """Whether an override adds to a list: ``key=extend_list(...)``, since Hydra 1.4."""
    return override.type.name == "EXTEND_LIST"


def meant(recorded: Any) -> Any:
    """The value in a job's config for a value that a study recorded."""
    return parsed(f"key={recorded}").value() if _is_text(recorded) else recorded


def _is_text(recorded: Any) -> bool:
    """Whether a recorded value is the text of a list, a mapping, null or a quoted string, which Hydra must parse."""
    if not isinstance(recorded, str) or not (recorded == "null" or recorded[:1] in tuple("[{'\"")):
        return False
    try:
        return not parsed(f"key={recorded}").is_sweep_override()
    except HydraException:
        return False


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal. 1 equals 1.0, but neither equals true; nan equals nan."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or (a != a and b != b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


# ---- command lines of a shell


def compact(text: str) -> str:
    """An override in its shortest form, without spaces between the elements of a list or a mapping."""
    try:
        override = parsed(text)
        if override.value_type is None or override.is_sweep_override() or extends_list(override):
            return text
        return f"{override.get_key_element()}={hydra_value(override.value())}"
    except (HydraException, ValueError):
        return text


def words(overrides: Iterable[str]) -> str:
    """Overrides as words of a shell's command line.

    Words with characters that are special in a shell are quoted. So ``eval`` always reads the line correctly. In
    ``$(...)`` a shell splits the line at spaces and keeps the quotes as characters. The commands of this project
    therefore remove such quotes themselves (``unquoted``).
    """
    return " ".join(word if _SAME_IN_A_SHELL.fullmatch(word) else shlex.quote(word) for word in map(compact, overrides))


def unquoted(arguments: Sequence[str]) -> list[str]:
    """Arguments without the quotes that a shell has not removed, as in ``$(mdaf-study best --format overrides)``.

    No override begins with a quote, so an argument that does is such a case. A quoted word with spaces arrives as
    several arguments, which are joined again.
    """
    result: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        taken = 0
        while word.startswith("'"):
            try:
                [word] = shlex.split(word)
            except ValueError:  # the closing quote is missing: the next argument belongs to this word
                if taken == len(rest):
                    break
                word, taken = f"{word} {rest[taken]}", taken + 1
            else:
                del rest[:taken]
                break
        result.append(word)
    return result
