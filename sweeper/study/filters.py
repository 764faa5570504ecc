"""Picks rows: a filter such as ``state==COMPLETE and dropout>0.2``, a sort by a column. No code is evaluated.

A column goes by its name, by its heading in the table for people (``trial``, ``seconds``), or by the last part of its
name where no other ends alike: ``dropout`` is ``params.regularization.dropout``.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from mdaf.errors import did_you_mean
from mdaf.sweeper.study.queries import QueryError, Row

# Of the tables for people, where they aren't the column's name.
HEADINGS = {"number": "trial", "duration": "seconds"}
HEADINGS_OF_POINTS = {"name": "point", "standard_error": "error", "posterior_mean": "expected"}
_CONDITION = re.compile(r"\s*([^\s=!<>]+)\s*(==|!=|<=|>=|=|<|>)\s*(.*?)\s*")
# A word between two conditions; what stands in quotes is passed over.
_WORD = re.compile(r"""('[^']*'|"[^"]*")|\s+(and|or)\s+""")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


def where(rows: Sequence[Row], conditions: Iterable[str]) -> list[Row]:
    """The rows that meet every condition; one without a value in a column meets no comparison with it.

    A condition is ``COLUMN OPERATOR VALUE``, or several of them joined by ``and`` and ``or``, of which ``and`` binds
    tighter; a value that holds one of these words stands in quotes.
    """
    kept = list(rows)
    for condition in conditions:
        alternatives = [[_comparison(rows, part) for part in conjunction] for conjunction in _parts(condition)]
        kept = [row for row in kept if any(all(holds(row) for holds in group) for group in alternatives)]
    return kept


def sorted_by(rows: Sequence[Row], column: str) -> list[Row]:
    """The rows in ascending order of ``column``, in descending order of ``-column``; rows without a value come last."""
    if not rows:
        return []
    name = _column(rows[0], column.removeprefix("-"), "--sort")
    present = [row for row in rows if row[name] is not None]
    missing = [row for row in rows if row[name] is None]
    return sorted(present, key=lambda row: _order(row[name]), reverse=column.startswith("-")) + missing


def _parts(condition: str) -> list[list[str]]:
    """The comparisons of a condition: alternatives, each a list of those that must hold together."""
    alternatives, start = [[""]], 0
    for match in _WORD.finditer(condition):
        if match[2] is None:
            continue
        alternatives[-1][-1] = condition[start : match.start()]
        if match[2] == "and":
            alternatives[-1].append("")
        else:
            alternatives.append([""])
        start = match.end()
    alternatives[-1][-1] = condition[start:]
    return alternatives


def _comparison(rows: Sequence[Row], text: str) -> Callable[[Row], bool]:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise QueryError(f"--where {text!r}: expected COLUMN OPERATOR VALUE with == != < <= > or >=")
    column, symbol, value = match.groups()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    name = _column(rows[0], column, "--where") if rows else column
    return lambda row: row[name] is not None and _OPERATORS[symbol](*_comparable(row[name], symbol, value, text))


def _column(row: Row, text: str, option: str) -> str:
    """The column that ``text`` names."""
    if text in row:
        return text
    headings = HEADINGS_OF_POINTS if "posterior_mean" in row else HEADINGS
    meant = [name for name in row if headings.get(name) == text]
    meant = meant or [name for name in row if name.rpartition(".")[2] == text and not name.startswith("attrs.")]
    if len(meant) > 1:
        raise QueryError(f"{option}: {text!r} may be {' or '.join(meant)}: name the one that is meant")
    if not meant:
        names = {*row, *headings.values(), *(name.rpartition(".")[2] for name in row)}
        runs = "; --runs has those of single runs" if headings is HEADINGS_OF_POINTS else ""
        raise QueryError(
            f"{option}: there is no column {text!r}; there is: {', '.join(row)}{did_you_mean(text, names)}{runs}"
        )
    return meant[0]


def _comparable(value: Any, symbol: str, text: str, condition: str) -> tuple[Any, Any]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return value, float(text)
        except ValueError:
            if symbol in ("==", "=", "!="):
                return value, text
            raise QueryError(f"--where {condition!r}: the column holds numbers, {text!r} is none") from None
    return _as_text(value), text


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str) else json.dumps(value)


def _order(value: Any) -> tuple[int, Any]:
    """Numbers before text, so that a column of both has an order."""
    return (0, value) if isinstance(value, int | float) else (1, _as_text(value))
