"""What goes wrong by a user's hand, told in one line."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable

from hydra.errors import HydraException, MissingConfigException

_CHOICES = re.compile(r"(?:=\S*: )?Invalid value '(?P<found>[^']*)', expected one of (?P<known>\[[^\]]*\])")
_PARENT = re.compile(r"In '(?!(?:hydra/)?config'|phase4')(?P<file>[^']+)': ")  # another file than the primary one


class UserError(ValueError):
    """Bad input: which key or file, what was found, what was expected, what to do. One line."""


class StoppedError(RuntimeError):
    """What ends a run that was set up rightly, said in one line; ``exit_code`` is the process's."""

    exit_code = 1
    of_its_point = False  # whether the run would end so again, wherever and whenever: it diverged


class DataError(ValueError):
    """A file or setting that cannot be used: names it, what was found, what was expected, what to do."""


class DamagedStoreError(DataError):
    """A store that is proved not to hold what was written: ``found`` says why, without the remedy."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}; {remedy}")
        self.found = found


class LeakageError(DataError):
    """A prepared store in which something of a later time reaches an earlier sample."""


def did_you_mean(found: str, known: Iterable[str], prefix: str = "") -> str:
    """``; did you mean X?`` with the known name that is most like the one found; empty where none is like it.

    ``prefix`` is written before the name, so that the answer can be typed as it stands.
    """
    names = {name.lower(): name for name in known}
    closest = difflib.get_close_matches(found.lower(), names, n=1, cutoff=0.6)
    return f"; did you mean {prefix}{names[closest[0]]}?" if closest else ""


def one_line(error: BaseException) -> str:
    """The message of ``error`` on a single line, with the cause where Hydra hides the reason in it."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        return _no_such_option(error, error.missing_cfg_file, error.options)
    parts = [str(error)]
    if isinstance(error, HydraException) and error.__cause__ is not None:
        parts.append(str(error.__cause__))
    lines = [line.strip() for part in parts for line in part.split("Config search path:")[0].splitlines()]
    kept = [line for line in lines if line and not re.match(r"(reference_type|object_type|full_key)\b", line)]
    keys = [line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")]
    text = "; ".join(dict.fromkeys(kept)).replace(":; ", ": ") or type(error).__name__
    text = re.sub(r"^Error merging override (.*?); ", r"\1: ", text)
    text = re.sub(r"^Error when parsing index: \d+, string: (.*?) out of \[.*?\]\.; ", r"\1: cannot be read; ", text)
    text = re.sub(r"LexerNoViableAltException: (.*); \^", lambda found: _unreadable(found[1]), text)
    text = re.sub(r"; See https://hydra.cc\S* for details", "", text)
    if match := _CHOICES.search(text):
        choices = [str(choice) for choice in ast.literal_eval(match["known"])]
        found = f"found {match['found']}, expected one of {', '.join(choices)}{did_you_mean(match['found'], choices)}"
        before = text[: match.start()]
        text = before + (": " if match[0].startswith("=") else "") + found + text[match.end() :]
    return f"{keys[0]}: {text}" if keys and keys[0] not in text else text


def _unreadable(override: str) -> str:
    """What to type in place of an override with a character that Hydra's grammar does not have."""
    if "=~" in override:
        return f"a ~ is not expanded within an override, type {override.replace('=~', '=$HOME')}"
    key, _, value = override.partition("=")
    return f"a value with such characters needs quotes of its own, type '{key}=\"{value}\"'"


def _no_such_option(error: MissingConfigException, path: str, options: Iterable[str]) -> str:
    """Of an option that its group does not have: what was typed, what it may have meant, what there is."""
    group, _, name = path.rpartition("/")
    parent = _PARENT.match(str(error))
    where = f"{parent['file']}: " if parent else ""
    meant = did_you_mean(name, options, f"{group}=")
    return f"{where}{group}={name}: no such option, expected one of {', '.join(options)}{meant}"
