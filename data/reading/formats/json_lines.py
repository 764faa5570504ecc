"""Reads JSON lines, one object a line, in blocks that fit in memory, and returns them as ``TextFile`` returns lines.

polars reads a block at once where every line is a sound object with plain values. A block with any other line is read
line by line: polars writes a list that it does not expect, an object, and a large decimal otherwise than is wanted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mdaf.data.reading.formats.delimited import MORE, NOT_JSON, NOT_UTF8, REPLACEMENT, Lines, column_of, known_kind
from mdaf.data.reading.formats.lines import beginning_of_text, line_blocks
from mdaf.errors import DataError, did_you_mean

BETWEEN = "|"  # stands between the values of a list, unless the column has a separator of its own
_HEAD = 1 << 20  # bytes at the beginning of a file in which each column must occur
_WHERE = f"in its first {_HEAD >> 20} MB"
_EXACT = 1 << 53  # a decimal represents all whole numbers below this exactly
_LARGE = r"-?[0-9]+(?:\.[0-9]*)?[eE]\+?[0-9]|-?[0-9]{16,}\."  # a decimal that may be larger
_PLAIN, _LIST = r"[\[{]|" + _LARGE, r"\{|\[[^\]]*[\[{]|" + _LARGE  # what polars does not read as a text, as a list


@dataclass(frozen=True)
class JsonLines:
    """A file of JSON objects.

    ``columns``   the keys to read; ``a.b`` is the key b of the object a, unless there is a key ``a.b``. An object may
                  lack a key: its value is missing then.
    ``expected``  a description of the format, for error messages.
    ``between``   column -> what to put between the values of a list, default ``BETWEEN``.
    """

    path: Path
    columns: Sequence[str]
    expected: str
    between: Mapping[str, str] = field(default_factory=dict)

    row = "line"  # what errors call a row

    def check(self) -> None:
        """Raises DataError unless the file begins with JSON objects that have every column."""
        head = beginning_of_text(self.path)
        if not head.strip():
            raise DataError(f"{self.path} is empty; expected {self.expected}")
        if kind := known_kind(head):
            raise DataError(f"{self.path} is {kind}; expected JSON lines, {self.expected}")
        if head.lstrip()[:1] == b"[":
            raise DataError(
                f"{self.path} is one JSON list; expected an object a line (jq -c '.[]' FILE > FILE.jsonl writes it so)"
            )
        if not self._objects:
            raise DataError(f"{self.path} does not begin with a JSON object a line; expected {self.expected}")
        for column in self.columns:
            if not self.has(column):
                keys = sorted({key for line in self._objects for key in _names(line)})
                raise DataError(
                    f"{self.path} has no column {column!r} {_WHERE}, it has {', '.join(keys[:30])}; expected "
                    f"{self.expected}{did_you_mean(column, keys)}"
                )

    def has(self, column: str) -> bool:
        """Whether an object at the beginning of the file has this key."""
        return any(_found(line, column)[0] for line in self._objects)

    def frames(self, block_bytes: int) -> Iterator[Lines]:
        """The file's lines in blocks of about ``block_bytes``, as in ``TextFile.frames``."""
        number = 1
        for block, share in line_blocks(self.path, block_bytes):
            lines = block.count(b"\n") + (not block.endswith(b"\n"))
            frame = self._read_at_once(block)
            if frame is None or len(frame) != lines:
                frame = self._read_each(block)
            columns = [pl.when(column_of(name) != "").then(column_of(name)) for name in self.columns]
            yield Lines(frame.select(*columns, MORE), share, number)
            number += lines

    @cached_property
    def _objects(self) -> list[dict[str, Any]]:
        """The objects at the beginning of the file; the last line may be cut off and is left out then."""
        found = (_object(line) for line in beginning_of_text(self.path, _HEAD).splitlines())
        return [line for line in found if line is not None]

    @cached_property
    def _kinds(self) -> dict[str, pl.DataType] | None:
        """What polars is to read, by top-level key; None if it cannot: a key is a value here and an object there."""
        tree: dict[str, Any] = {}
        for column in self.columns:
            literal = any(column in line for line in self._objects)
            keys = [column] if literal else column.split(".")
            node = tree
            for key in keys[:-1]:
                node = node.setdefault(key, {})
                if not isinstance(node, dict):
                    return None
            if keys[-1] in node:
                return None
            values = (_found(line, column)[1] for line in self._objects)
            listed = any(isinstance(value, list) for value in values)
            node[keys[-1]] = pl.List(pl.String()) if listed else pl.String()
        return {key: _as_type(kind) for key, kind in tree.items()}

    @cached_property
    def _unfit(self) -> str:
        """A regular expression that matches where a block holds a value, under one of the keys, not for polars."""
        found = []
        for column in self.columns:
            listed = any(isinstance(_found(line, column)[1], list) for line in self._objects)
            names = {column, column.rpartition(".")[2]}
            spelled = {json.dumps(name, ensure_ascii=ascii)[1:-1] for name in names for ascii in (True, False)}
            keys = "|".join(re.escape(key) for key in sorted(spelled))
            found.append(rf'(?:{keys})"\s*:\s*(?:{_LIST if listed else _PLAIN})')
        return f'"(?:{"|".join(found)})'

    def _read_at_once(self, block: bytes) -> pl.DataFrame | None:
        if self._kinds is None or b"\n\n" in block:
            return None
        try:
            if pl.Series([block.decode()]).str.contains(self._unfit).item():  # much faster than ``re``
                return None
        except (UnicodeDecodeError, pl.exceptions.PolarsError):
            return None
        try:
            frame = pl.read_ndjson(block, schema=self._kinds)
        except (pl.exceptions.PolarsError, BaseExceptionGroup):
            return None
        columns = []
        for column in self.columns:
            first, *inner = [column] if column in self._kinds else column.split(".")
            value = column_of(first)
            for key in inner:
                value = value.struct.field(key)
            if frame.select(value).dtypes[0] == pl.List:
                value = value.list.eval(pl.element().drop_nulls()).list.join(self.between.get(column, BETWEEN))
            columns.append(value.alias(column))
        return frame.select(*columns, pl.lit(None, pl.String).alias(MORE))

    def _read_each(self, block: bytes) -> pl.DataFrame:
        """The lines one by one; a line that is no object, or is not UTF-8, is a row with ``MORE``."""
        rows: dict[str, list[str | None]] = {name: [] for name in (*self.columns, MORE)}
        for line in block.removesuffix(b"\n").split(b"\n"):
            found, bad = _object(line), None
            if found is None and line.strip():
                found = _object(line.decode("utf-8", "replace").encode())
                bad = NOT_JSON if found is None else NOT_UTF8
            values = {name: self._text(name, _found(found or {}, name)[1]) for name in self.columns}
            if bad == NOT_UTF8 and not any(REPLACEMENT in (value or "") for value in values.values()):
                bad = None  # as in delimited text: only the columns that are read must be UTF-8
            rows[MORE].append(bad)
            for name, value in values.items():
                rows[name].append(value)
        return pl.DataFrame(rows, schema=dict.fromkeys(rows, pl.String()))

    def _text(self, column: str, value: Any) -> str | None:
        """A value as text, as polars writes it."""
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            if value.is_integer() and abs(value) >= _EXACT:  # different numbers may have become this one
                return f"{int(value)}e+0"  # see ``cells.rounded``
            return np.format_float_positional(value, trim="-")
        if isinstance(value, list):
            kept = (self._text(column, each) for each in value if each is not None)
            return self.between.get(column, BETWEEN).join(each or "" for each in kept)
        return json.dumps(value)


def _object(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line; None if it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _found(line: Mapping[str, Any], column: str) -> tuple[bool, Any]:
    """Whether an object has a column, and its value."""
    if column in line:
        return True, line[column]
    first, dot, rest = column.partition(".")
    if dot and isinstance(inner := line.get(first), dict):
        return _found(inner, rest)
    return False, None


def _names(line: Mapping[str, Any]) -> Iterator[str]:
    """The columns of an object, those of objects within it with a dot."""
    for key, value in line.items():
        if isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in _names(value))
        else:
            yield key


def _as_type(kind: Any) -> Any:
    return pl.Struct({key: _as_type(inner) for key, inner in kind.items()}) if isinstance(kind, dict) else kind
