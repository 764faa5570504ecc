"""Reads the sizes of a Parquet file's row groups from its footer, since polars does not offer them.

A reader of Parquet keeps a whole row group of its columns in memory, however few rows are asked for.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any

_LARGEST = 1 << 23  # bytes: a longer footer has so many row groups that none is large
_BINARY, _LIST, _SET, _MAP, _STRUCT = 8, 9, 10, 11, 12  # kinds of values in Thrift's compact protocol
_ROW_GROUPS, _COLUMNS, _META, _PATH, _BYTES = 4, 1, 3, 3, 6  # numbers of fields in Parquet's metadata


def largest_row_group(path: Path, columns: Collection[str]) -> int:
    """The uncompressed bytes of some columns in the row group in which they are largest; 0 if that is unknown."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        (length,) = struct.unpack("<I", file.read(4))
        if length > min(_LARGEST, file.tell()):
            return 0
        file.seek(-8 - length, os.SEEK_END)
        footer = file.read(length)
    try:
        groups = _Compact(footer).record()[_ROW_GROUPS]
        return max((sum(_bytes_of(chunk, columns) for chunk in group[_COLUMNS]) for group in groups), default=0)
    except (IndexError, KeyError, TypeError, ValueError, RecursionError):  # polars reports what is wrong
        return 0


def _bytes_of(chunk: dict[int, Any], columns: Collection[str]) -> int:
    return chunk[_META][_BYTES] if chunk[_META][_PATH][0].decode("utf-8", "replace") in columns else 0


class _Compact:
    """Reads Thrift's compact protocol. A struct becomes a dictionary from the numbers of its fields to their values."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def record(self) -> dict[int, Any]:
        """Reads a struct."""
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            found[number] = self._value(head & 15)
        return found

    def _value(self, kind: int, within: bool = False) -> Any:
        if kind in (1, 2):
            return self._byte() if within else kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._take(8)
        if kind == _BINARY:
            return self._take(self._unsigned())
        if kind in (_LIST, _SET):
            head = self._byte()
            size = head >> 4 if head >> 4 < 15 else self._unsigned()
            return [self._value(head & 15, within=True) for _ in range(size)]
        if kind == _MAP and (size := self._unsigned()):
            kinds = self._byte()
            return [(self._value(kinds >> 4, True), self._value(kinds & 15, True)) for _ in range(size)]
        if kind == _STRUCT:
            return self.record()
        raise ValueError(f"kind {kind}")

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _take(self, size: int) -> bytes:
        self._at += size
        return self._content[self._at - size : self._at]

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
