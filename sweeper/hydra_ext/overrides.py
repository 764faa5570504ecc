"""Override texts: the one place that writes and reads them, types and all.

A value goes from the command line to a job's config, to the study, and back to a command line. Its text is always
Hydra's own grammar, so Hydra's parser is the judge of what a text means.

A study's choices can only be numbers, booleans and strings. A choice of another type (a list, a mapping, null, a quoted
string) is recorded as its text, as hydra-optuna-sweeper does; ``meant`` gives back the value.
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
from omegaconf import OmegaConf

from mdaf.hydra_internals import value_and_text

SIGNS = "+~"  # Hydra's marks before a key: add it, delete it
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.:-]*")
_RESERVED = ("true", "false", "null", "nan", "inf")
_ESCAPED = re.compile(r"[\\()\[\]{}:=, \t]")
_SAME_IN_A_SHELL = re.compile(r"[\w@%+=:,./\[\]-]+", re.ASCII)


# ---- writing


def hydra_value(value: Any) -> str:
    """The text of a value, which Hydra reads back with the same types; spaces stand only within strings.

    ValueError for a value that the grammar has no text for, such as a mapping with an empty key.
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
    """A string's text, quoted where it would read as something else."""
    if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    escaped = re.sub(r"(\\*)('|\Z)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"'{escaped}'"


def _mapping_key(key: Any) -> str:
    """The text of a mapping's key, which the grammar does not let be quoted."""
    text = _ESCAPED.sub(r"\\\g<0>", key) if isinstance(key, str) else hydra_value(key)
    try:
        read: Any = parsed(f"key={{{text}:0}}").value()
    except HydraException:
        read = {}
    if not (isinstance(read, dict) and len(read) == 1 and same(next(iter(read)), key)):
        raise ValueError(f"an override cannot hold a mapping with the key {key!r}: Hydra's grammar has no text for it")
    return text


def choice_of(element: Any) -> Any:
    """A parsed element of a sweep, as a study records it: a number, a boolean or a string that ``meant`` reads."""
    if isinstance(element, bool | int | float):
        return element
    if isinstance(element, str):  # typed without quotes; perhaps with backslashes, as \[UNK\]
        return _string(element) if _is_text(element) else element
    value, text = value_and_text(element)
    return text if same(meant(text), value) else hydra_value(value)


def override_text(key: str, recorded: Any) -> str:
    """The override that sets ``key``, its signs included, to a value as a study records it."""
    return f"{key}={recorded if _is_text(recorded) else hydra_value(recorded)}"


# ---- reading


@functools.lru_cache(maxsize=4096)
def parsed(text: str) -> Override:
    """An override as Hydra reads it; for reading alone, since all who ask share it. Hydra's error where it cannot."""
    return OverridesParser.create().parse_override(text)


@functools.lru_cache(maxsize=4096)
def key_of(text: str) -> str:
    """The key that an override sets, without signs. Of what Hydra does not read: what stands before the first ``=``."""
    try:
        return parsed(text).get_key_element().lstrip(SIGNS)
    except HydraException:
        return text.lstrip(SIGNS).partition("=")[0]


def meant(recorded: Any) -> Any:
    """The value that a job's config holds where a study records ``recorded``."""
    return parsed(f"key={recorded}").value() if _is_text(recorded) else recorded


def _is_text(recorded: Any) -> bool:
    """Whether a recorded string is a text that Hydra is yet to read: a list, a mapping, null, a quoted string."""
    if not isinstance(recorded, str) or not (recorded == "null" or recorded[:1] in tuple("[{'\"")):
        return False
    try:
        return not parsed(f"key={recorded}").is_sweep_override()
    except HydraException:
        return False


def same(a: Any, b: Any) -> bool:
    """Whether two values are one: 1 is 1.0, but neither is true; nan is nan."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or (a != a and b != b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


# ---- a line of shell


def compact(text: str) -> str:
    """An override in its shortest writing, without spaces between the parts of a list or a mapping."""
    try:
        read = parsed(text)
        if read.value_type is None or read.is_sweep_override() or read.is_list_extend():
            return text
        return f"{read.get_key_element()}={hydra_value(read.value())}"
    except (HydraException, ValueError):
        return text


def words(overrides: Iterable[str]) -> str:
    """Overrides as words of a shell line.

    A word that a shell leaves as it is stands bare, others are quoted. So ``eval`` reads the line rightly whatever it
    holds, and ``$(...)``, where a shell splits at spaces and leaves quotes alone, wherever no word is quoted; a command
    of this project takes the quotes off itself (``unquoted``).
    """
    return " ".join(word if _SAME_IN_A_SHELL.fullmatch(word) else shlex.quote(word) for word in map(compact, overrides))


def unquoted(arguments: Sequence[str]) -> list[str]:
    """Arguments without quotes that no shell took off, as in ``$(mdaf-study best --format overrides)``.

    No override begins with a quote, so one that does came that way; a word with spaces came in parts.
    """
    found: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        taken = 0
        while word.startswith("'"):
            try:
                [word] = shlex.split(word)
            except ValueError:  # no closing quotation: the next part belongs to it
                if taken == len(rest):
                    break
                word, taken = f"{word} {rest[taken]}", taken + 1
            else:
                del rest[:taken]
                break
        found.append(word)
    return found
