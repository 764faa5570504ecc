"""The further fields of a log: which columns may be fields, what they are called, which are numbers and lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mdaf.data.preparing.layout import MOMENTS
from mdaf.data.reading.formats.delimited import spelled_out
from mdaf.data.store.cell_rows import MultiValued, Numeric
from mdaf.data.store.event_store import GAP_FIELD, MATCH_PREFIX
from mdaf.errors import DataError

ROLES = ("user", "item", "time", "category", "behaviour", "label")
_TAKEN = {*ROLES, *MOMENTS, GAP_FIELD, "match", "split", "probability", "first", "trained", "total", "value"}
_UNFIT = re.compile(r"[/\\\x00-\x1f\x7f]|^\.|^[#<]|^own ")  # not possible in file names, or used for other columns
_LONGEST = 100  # characters, and 200 bytes, since files of a store have these names
_PATTERN = re.compile(r"^\*$|^\^(?=.*\$$)")  # what polars takes for a pattern of names, at its beginning


def field_name(owner: str, column: str) -> str:
    """The name of the field for a column of users, items, events or contexts.

    It is the column's name, with the owner in front if that name has another meaning here.
    """
    name = _PATTERN.sub("_", _UNFIT.sub("_", column))[:_LONGEST] or "_"
    name = name.encode("utf-8", "replace")[: 2 * _LONGEST].decode("utf-8", "ignore")
    taken = name in _TAKEN or name.startswith(MATCH_PREFIX) or name == "other"
    return f"{owner}_{name}" if taken else name


def field_names(columns: Mapping[str, str | None], listed: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Owner -> field -> column, for the columns that are ``listed`` for user, item, event and context.

    Raises DataError for a column that cannot be a field. The label may be a field of events: it says how they ended.
    """
    roles = {column: role for role, column in columns.items() if column is not None}
    found: dict[str, str] = {}
    fields: dict[str, dict[str, str]] = {owner: {} for owner in listed}
    for owner, names in listed.items():
        for column in names:
            key = f"data.{owner}_fields: {column!r}"
            is_label = column == columns.get("label")
            if is_label and owner != "event":
                raise DataError(f"{key} is data.columns.label, which is to be predicted; leave it out")
            if column in roles and not is_label:
                raise DataError(f"{key} is data.columns.{roles[column]} already; leave it out")
            if column in found.values():
                raise DataError(f"{key} is listed twice; leave one out")
            name = field_name(owner, column)
            if name in found:
                raise DataError(f"{key} and {found[name]!r} would both be called {name!r}; rename one of the columns")
            found[name] = fields[owner][name] = column
    return fields


def cell_rules(
    fields: Mapping[str, str],
    numeric_fields: Sequence[str],
    numeric: str,
    buckets: int,
    list_fields: Mapping[str, str],
    pooling: str,
) -> dict[str, Numeric | MultiValued]:
    """Field -> how its cells become rows, for the columns that are numbers or lists. ``fields``: field -> column.

    Raises DataError for a column that is no field, or that is both.
    """
    by_column = {column: field for field, column in fields.items()}
    rules: dict[str, Numeric | MultiValued] = {}
    for key, listed in (("numeric_fields", numeric_fields), ("list_fields", list_fields)):
        for column in listed:
            if column not in by_column:
                raise DataError(
                    f"data.{key}: {column!r} is no field; list it in data.user_fields, item_fields, event_fields or "
                    f"context_fields too, which have {', '.join(map(repr, by_column)) or 'none'}"
                )
            field = by_column[column]
            if field in rules:
                raise DataError(f"data.{key}: {column!r} is in data.numeric_fields already; leave one out")
            if key == "numeric_fields" and field == "category":
                raise DataError("data.numeric_fields: a category is no number; list its column in data.item_fields")
            rules[field] = (
                Numeric(numeric, buckets)
                if key == "numeric_fields"
                else MultiValued(spelled_out(list_fields[column], f"data.list_fields.{column}"), pooling)
            )
    return rules


def refuse_label_elsewhere(key: str, columns: Mapping[str, str | None]) -> None:
    """Raises DataError if the label's column has another role too: a model would know it before it predicts it."""
    label = columns.get("label")
    for role, column in columns.items():
        if role != "label" and column is not None and column == label:
            raise DataError(f"{key}.{role}={column} is {key}.label too, which is to be predicted")
