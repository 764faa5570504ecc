"""Overrides from Python: a list of texts as they are typed, or a mapping of keys to values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mdaf.errors import UserError
from mdaf.terminal.programs import WORDS

Overrides = Sequence[str] | Mapping[str, Any]

_SWEEP = re.compile(r"(choice|range|interval|glob|tag|sort|shuffle)\(.*\)", re.DOTALL)


def words_of(overrides: Overrides) -> list[str]:
    """The words of a command line. UserError for anything but a list of texts or a mapping with texts as keys.

    A text that is a sweep, such as ``interval(0, 0.5)``, goes into the command as it is. Any other value of a mapping
    is written so that Hydra reads the same value.
    """
    if isinstance(overrides, str):
        raise UserError(f"overrides: found the text {overrides!r}, expected a list, type [{overrides!r}]")
    if isinstance(overrides, Mapping):
        return [_word(key, value) for key, value in overrides.items()]
    if not isinstance(overrides, Iterable):
        raise UserError(
            f"overrides: found {overrides!r}, expected a list of texts such as 'training.epochs=2', or a dict"
        )
    words = list(overrides)
    if words and words[0] in (*WORDS, "--help", "--cfg"):
        raise UserError(f"overrides: found {words[0]!r}, which trains nothing; type it in a terminal")
    for word in words:
        if not isinstance(word, str):
            raise UserError(f"overrides: found {word!r}, expected texts such as 'training.epochs=2', or a dict")
    return words


def _word(key: Any, value: Any) -> str:
    from mdaf.sweeper.hydra_ext.overrides import hydra_value  # and with it Hydra's parser

    if not isinstance(key, str) or not key or "=" in key:
        raise UserError(f"overrides: found the key {key!r}, expected one such as 'training.epochs'")
    if isinstance(value, str) and _SWEEP.fullmatch(value):
        return f"{key}={value}"
    try:
        return f"{key}={hydra_value(value.item() if hasattr(value, 'item') else _plain(value))}"
    except ValueError as error:
        raise UserError(f"overrides: {key}: {error}") from None


def _plain(value: Any) -> Any:
    """A path as its text; everything else as it is."""
    return str(value) if hasattr(value, "__fspath__") else value
