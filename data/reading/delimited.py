"""Delimited text in blocks that fit in memory, every line a row: what is wrong with a line is for the reader to say."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from mdaf.data.reading.file_hashes import as_hashed, unreadable
from mdaf.errors import DataError

MORE = "<more>"  # a column of what lies behind the last expected field; null in a good line
NOT_UTF8 = "not UTF-8"  # is in that column where bytes of another encoding stand in an expected one
BAD_QUOTES = "bad quotes"  # where a line's quotes do not come in pairs around fields; its other columns are null then
REPLACEMENT = "\ufffd"  # stands for bytes that are not UTF-8
_HEAD = 1 << 16  # bytes that tell what kind of file it is
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPELLED = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_MAGIC = {
    b"\x1f\x8b": "gzip-compressed (decompress it first)",
    b"PK\x03\x04": "a zip archive (unpack it first)",
    b"BZh": "bzip2-compressed (decompress it first)",
    b"\xfd7zXZ": "xz-compressed (decompress it first)",
    b"\x28\xb5\x2f\xfd": "zstd-compressed (decompress it first)",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "text in UTF-16 (save it as UTF-8)",
    b"\xfe\xff": "text in UTF-16 (save it as UTF-8)",
}


@dataclass(frozen=True)
class TextFile:
    """A delimited file.

    ``columns``   what its lines hold; with ``header`` the first line must name these, and may name others.
    ``expected``  the format in words, for errors.
    ``quotes``    whether a field may stand in double quotes; a quoted field may not hold a line break.
    """

    path: Path
    columns: Sequence[str]
    expected: str
    separator: str = ","
    header: bool = False
    quotes: bool = False

    def check(self) -> None:
        """DataError for what cannot be such a file, told by its beginning."""
        head = beginning(self.path)
        if not head.strip():
            raise DataError(f"{self.path} is empty; expected {self.expected}")
        if kind := known_kind(head):
            raise DataError(f"{self.path} is {kind}; expected plain text, {self.expected}")
        if head.count(0) > len(head) // 100:
            raise DataError(
                f"{self.path} is binary or in another encoding than UTF-8; expected plain text, {self.expected}"
            )
        lines = [line for line in head.splitlines() if line.strip()]
        names = self._names(lines[0])
        shown = re.sub(r"[^\x20-\x7e]", "?", lines[0][:60].decode("latin-1"))
        absent = [name for name in self.columns if name not in names]
        if absent:
            raise DataError(
                f"{self.path} has no column {absent[0]!r}: its first line begins {shown!r}; expected {self.expected}"
            )
        if doubled := [name for name in self.columns if names.count(name) > 1]:
            raise DataError(f"{self.path} has several columns {doubled[0]!r}; expected one of each: {self.expected}")
        widths = sorted(self._width(line) for line in lines)
        typical = widths[len(widths) // 2]
        if typical != len(names):
            raise DataError(
                f"{self.path} has {typical} {_SPELLED.get(self.separator, repr(self.separator))}-separated "
                f"column{'s' * (typical > 1)}; expected {len(names)}: {self.expected}; its first line begins {shown!r}"
            )

    def frames(self, block_bytes: int) -> Iterator[tuple[pl.DataFrame, float]]:
        """Blocks of lines and the share of the file that is read: the columns as text, null where they are empty, and
        ``MORE``. A blank line is a row of nulls; ``MORE`` is ``NOT_UTF8`` or ``BAD_QUOTES`` where that is wrong."""
        size, done, first = max(1, self._size()), 0, True
        for block in as_hashed(self.path, _blocks(self.path, block_bytes)):
            done += len(block)
            if first:
                block = block.removeprefix(_BYTE_ORDER_MARK)
                names = list(self.columns)
                if self.header:
                    line, _, block = block.partition(b"\n")
                    names = self._names(line)
                first = False
            if block:
                yield self._parse(names, block), done / size

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise unreadable(self.path, error) from None

    def _names(self, line: bytes) -> list[str]:
        if not self.header:
            return list(self.columns)
        text = line.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", errors="replace").strip("\r\n")
        return [name.strip().strip('"') for name in text.split(self.separator)]

    def _width(self, line: bytes) -> int:
        if self.quotes:
            line = re.sub(rb'"[^"]*"', b"", line)
        return line.count(self.separator.encode()) + 1

    def _parse(self, names: list[str], block: bytes) -> pl.DataFrame:
        bad_quotes = self.separator.encode() * len(names) + BAD_QUOTES.encode()
        if quoted := self.quotes and b'"' in block:
            block = _without_open_quotes(block, bad_quotes)
        try:
            try:
                frame, lossy = self._read(names, block, "utf8", quoted), False
            except pl.exceptions.ComputeError:  # slower: replaces what cannot be read
                block = _without_misplaced_quotes(block, self.separator, bad_quotes) if quoted else block
                frame, lossy = self._read(names, block, "utf8-lossy", quoted), True
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{self.path} cannot be read: {reason}; expected {self.expected}") from None
        # By place: a name that is not asked for may stand over several columns.
        chosen = [pl.col(str(names.index(name))).alias(name) for name in self.columns]
        frame = frame.select(*chosen, pl.col(str(len(names))).alias(MORE))
        if lossy:
            replaced = pl.any_horizontal(pl.col(*self.columns).str.contains(REPLACEMENT, literal=True))
            frame = frame.with_columns(pl.when(replaced).then(pl.lit(NOT_UTF8)).otherwise(pl.col(MORE)).alias(MORE))
        columns = [pl.when(pl.col(name) != "").then(pl.col(name)) for name in self.columns]
        return frame.select(*columns, MORE)

    def _read(self, names: list[str], block: bytes, encoding: str, quoted: bool) -> pl.DataFrame:
        # Numbered names in a header of our own: so the width does not hang on the block's first line.
        header = self.separator.join(str(number) for number in range(len(names) + 1))
        return pl.read_csv(
            io.BytesIO(header.encode() + b"\n" + block),
            separator=self.separator,
            quote_char='"' if quoted else None,
            infer_schema=False,
            encoding=encoding,
            truncate_ragged_lines=True,
        )


def beginning(path: Path) -> bytes:
    """A file's first bytes, enough to tell its kind; DataError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise unreadable(path, error) from None


def known_kind(head: bytes) -> str | None:
    """What a file is that begins so, where that cannot be plain text, and what to do about it."""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def _blocks(path: Path, block_bytes: int) -> Iterator[bytes]:
    """A file's bytes in blocks that end where a line ends."""
    try:
        with path.open("rb") as file:
            while block := file.read(block_bytes):
                yield block + file.readline()
    except OSError as error:
        raise unreadable(path, error) from None


def _without_open_quotes(block: bytes, instead: bytes) -> bytes:
    """``block`` with another line for each whose quotes do not come in pairs: one of these would swallow its line's end
    and all that follows, up to the next quote."""
    content = np.frombuffer(block, dtype=np.uint8)
    before = np.searchsorted(np.flatnonzero(content == ord('"')), np.flatnonzero(content == ord("\n")))
    lines = block.split(b"\n")
    quotes = np.diff(before, prepend=0, append=block.count(b'"'))
    for odd in np.flatnonzero(quotes % 2).tolist():
        lines[odd] = instead
    return b"\n".join(lines)


def _without_misplaced_quotes(block: bytes, separator: str, instead: bytes) -> bytes:
    """``block`` with another line for each in which something stands between a field's quotes and its end."""
    between = re.escape(separator.encode())
    quoted, plain = rb'"(?:[^"]|"")*"', rb"(?!\")[^" + between + rb"]*"
    sound = re.compile(rb"(?:%s|%s)(?:%s(?:%s|%s))*" % (quoted, plain, between, quoted, plain))
    lines = block.split(b"\n")
    return b"\n".join(line if sound.fullmatch(line.removesuffix(b"\r")) else instead for line in lines)


def number(name: str) -> pl.Expr:
    """A column of text as whole numbers, null where it is none."""
    return pl.col(name).cast(pl.Int64, strict=False)


def decimal(name: str) -> pl.Expr:
    """A column of text as numbers, null where it is none."""
    value = pl.col(name).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value).alias(name)


def line_defect(needed: Sequence[str], numbers: Sequence[pl.Expr]) -> pl.Expr:
    """The first thing that is wrong with a line of ``TextFile.frames``, or null.

    ``needed``   columns that may not be empty.
    ``numbers``  columns as they are read, null where that fails.
    """
    first, *others = needed
    empty = pl.col(first).fill_null("").str.strip_chars() == ""
    blank = pl.all_horizontal(empty, *(pl.col(name).is_null() for name in others))
    return (
        pl.when(blank & pl.col(MORE).is_null())
        .then(pl.lit("blank line"))
        .when(pl.col(MORE).is_in([NOT_UTF8, BAD_QUOTES]))
        .then(pl.col(MORE))
        .when(pl.col(MORE).is_not_null())
        .then(pl.lit("too many fields"))
        .when(pl.any_horizontal(pl.col(name).is_null() for name in needed))
        .then(pl.lit("cut line"))
        .when(pl.any_horizontal(pl.lit(False), *(column.is_null() for column in numbers)))
        .then(pl.lit("not a number"))
    )
