"""Picks rows: a filter such as ``params.regularization.dropout>0.2``, a sort by a column. No code is evaluated."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from sweeper.queries import QueryError, Row

_CONDITION = re.compile(r"\s*([^\s=!<>]+)\s*(==|!=|<=|>=|=|<|>)\s*(.*?)\s*")
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
    """The rows that meet every condition ``COLUMN OPERATOR VALUE``; a row without a value in the column meets none."""
    kept = list(rows)
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if match is None:
            raise QueryError(f"--where {condition!r}: expected COLUMN OPERATOR VALUE with == != < <= > or >=")
        column, symbol, text = match.groups()
        if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
            text = text[1:-1]
        _check_column(rows, column, "--where")
        present = [row for row in kept if row[column] is not None]
        kept = [row for row in present if _OPERATORS[symbol](*_comparable(row[column], symbol, text, condition))]
    return kept


def sorted_by(rows: Sequence[Row], column: str) -> list[Row]:
    """The rows in ascending order of ``column``, in descending order of ``-column``; rows without a value come last."""
    name = column.removeprefix("-")
    _check_column(rows, name, "--sort")
    present = [row for row in rows if row[name] is not None]
    missing = [row for row in rows if row[name] is None]
    return sorted(present, key=lambda row: _order(row[name]), reverse=column.startswith("-")) + missing


def _check_column(rows: Sequence[Row], column: str, option: str) -> None:
    if rows and column not in rows[0]:
        raise QueryError(f"{option}: there is no column {column!r}; there is: {', '.join(rows[0])}")


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
