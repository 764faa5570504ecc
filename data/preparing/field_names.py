"""The names of further fields of users and items in a log: which columns may be fields, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mdaf.data.preparing.layout import MOMENTS
from mdaf.data.store.event_store import GAP_FIELD, MATCH_PREFIX
from mdaf.errors import DataError

ROLES = ("user", "item", "time", "category", "behaviour", "label")
_TAKEN = {*ROLES, *MOMENTS, GAP_FIELD, "match", "split", "probability", "first", "trained", "total", "value"}
_UNFIT = re.compile(r"[/\\\x00-\x1f\x7f]|^\.|^[#<]|^own ")  # not possible in file names, or used for other columns
_LONGEST = 100  # characters, since files of a store have these names


def field_name(owner: str, column: str) -> str:
    """The name of the field for a column of users or items.

    It is the column's name, with the owner in front if that name has another meaning here.
    """
    name = _UNFIT.sub("_", column)[:_LONGEST]
    taken = name in _TAKEN or name.startswith(MATCH_PREFIX) or name == "other"
    return f"{owner}_{name}" if taken else name


def field_names(
    columns: Mapping[str, str | None], user_fields: Sequence[str], item_fields: Sequence[str]
) -> dict[str, str]:
    """Field -> column, for users and items. Raises DataError for a column that cannot be a field."""
    roles = {column: role for role, column in columns.items() if column is not None}
    fields: dict[str, str] = {}
    for owner, listed in (("user", user_fields), ("item", item_fields)):
        for column in listed:
            key = f"data.{owner}_fields: {column!r}"
            if column == columns.get("label"):
                raise DataError(f"{key} is data.columns.label, which is to be predicted; leave it out")
            if column in roles:
                raise DataError(f"{key} is data.columns.{roles[column]} already; leave it out")
            if column in fields.values():
                raise DataError(f"{key} is listed twice; leave one out")
            name = field_name(owner, column)
            if name in fields:
                raise DataError(f"{key} and {fields[name]!r} would both be called {name!r}; rename one of the columns")
            fields[name] = column
    return fields


def refuse_label_elsewhere(key: str, columns: Mapping[str, str | None]) -> None:
    """Raises DataError if the label's column has another role too: a model would know it before it predicts it."""
    label = columns.get("label")
    for role, column in columns.items():
        if role != "label" and column is not None and column == label:
            raise DataError(f"{key}.{role}={column} is {key}.label too, which is to be predicted")
