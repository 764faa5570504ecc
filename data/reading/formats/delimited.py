"""Reads delimited text in blocks that fit in memory. Every line becomes a row, also a bad one.

The sources decide what to do with bad lines (``line_defect``, ``mdaf.data.reading.defects``).
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs

from mdaf.data.reading.formats.lines import beginning_of_text, line_blocks
from mdaf.errors import DataError, did_you_mean

MORE = "<more>"  # a column with what follows the last expected field of a line; null for a good line
NOT_UTF8 = "not UTF-8"  # its value if an expected field has another encoding
BAD_QUOTES = "bad quotes"  # its value if quotes do not come in pairs around fields; all other columns are null then
NOT_JSON = "not JSON"  # its value if a line of JSON lines is no object; all other columns are null then
REPLACEMENT = "\ufffd"  # replaces bytes that are not UTF-8
_UNIT = b"\x1f"  # stands for a separator of several bytes while a block is parsed
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SPELLED = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", " ": "space"}
_ATOMIC = (":token", ":token_seq", ":float", ":float_seq")  # what follows the names in atomic files
_MAGIC = {
    b"\x1f\x8b": "gzip-compressed (name it so that it ends in .gz, or decompress it first)",
    b"PK\x03\x04": "a zip archive (unpack it first)",
    b"BZh": "bzip2-compressed (decompress it first)",
    b"\xfd7zXZ": "xz-compressed (decompress it first)",
    b"\x28\xb5\x2f\xfd": "zstd-compressed (name it so that it ends in .zst, or decompress it first)",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "text in UTF-16 (save it as UTF-8)",
    b"\xfe\xff": "text in UTF-16 (save it as UTF-8)",
}


class Lines(NamedTuple):
    """A block of lines of a file.

    ``frame``  the columns as text, with null for an empty field, and ``MORE``.
    ``share``  the share of the file that is read, up to the end of this block.
    ``first``  the number in the file of the block's first line, from 1.
    """

    frame: pl.DataFrame
    share: float
    first: int


@dataclass(frozen=True)
class TextFile:
    """A delimited file.

    ``columns``    the columns to read. With ``header`` the first line must contain them and may contain others. In an
                   atomic file, ``genre`` stands for ``genre:token_seq``.
    ``expected``   a description of the format, for error messages.
    ``separator``  the characters between two fields.
    ``names``      the names of all columns of a file without a header; none: it has ``columns`` and no others.
    ``quotes``     whether fields may be in double quotes. A quoted field must not contain a line break.
    """

    path: Path
    columns: Sequence[str]
    expected: str
    separator: str = ","
    header: bool = False
    quotes: bool = False
    names: Sequence[str] = ()

    row = "line"  # what errors call a row

    def check(self) -> None:
        """Raises DataError if the beginning of the file shows that it has another format."""
        head = beginning_of_text(self.path)
        if not head.strip():
            raise DataError(f"{self.path} is empty; expected {self.expected}")
        if kind := known_kind(head):
            raise DataError(f"{self.path} is {kind}; expected plain text, {self.expected}")
        written = head.rstrip(b"\0")  # NULs at the end are a bad line: writing was interrupted
        if not written.strip():
            raise DataError(f"{self.path} holds NUL bytes alone; expected {self.expected}")
        if written.count(0) > len(head) // 100:
            raise DataError(
                f"{self.path} is binary or in another encoding than UTF-8; expected plain text, {self.expected}"
            )
        if b"\r" in written and b"\n" not in written:
            raise DataError(f"{self.path} ends its lines in carriage returns alone; expected line feeds (\\n)")
        lines = [line for line in written.splitlines() if line.strip()]
        self._check_names(lines[0])
        widths = sorted(self._width(line) for line in lines)
        typical, wanted = widths[len(widths) // 2], len(self._names(lines[0]))
        if typical != wanted:
            raise DataError(
                f"{self.path} has {typical} {self._spelled()}-separated column{'s' * (typical > 1)}; expected {wanted}:"
                f" {self.expected}; its first line begins {_shown(lines[0])}"
            )

    def header_names(self) -> list[str]:
        """The names in the first line that is not blank. DataError if there is none."""
        lines = [line for line in beginning_of_text(self.path).splitlines() if line.strip()]
        if not lines:
            raise DataError(f"{self.path} is empty; expected {self.expected}")
        return self._names(lines[0])

    def _check_names(self, line: bytes) -> None:
        """Raises DataError unless the names contain every column exactly once."""
        names = self._names(line)
        if not self.header and (absent := [name for name in self.columns if name not in names]):
            hint = did_you_mean(absent[0], names)
            raise DataError(
                f"{self.path} has no column {absent[0]!r}: data.header names {', '.join(names)}; expected "
                f"{self.expected}{hint}"
            )
        absent = [name for name in self.columns if name not in names]
        if absent:
            others = (replace(self, separator=other) for other in SPELLED if other != self.separator)
            fits = next((other for other in others if set(self.columns) <= set(other._names(line))), None)
            hint = did_you_mean(absent[0], names)
            if fits is not None:
                hint = f"; it is {fits._spelled()}-separated, and was read as {self._spelled()}-separated"
            raise DataError(
                f"{self.path} has no column {absent[0]!r}: its first line begins {_shown(line)}; expected "
                f"{self.expected}{hint}"
            )
        if doubled := [name for name in self.columns if names.count(name) > 1]:
            raise DataError(f"{self.path} has several columns {doubled[0]!r}; expected one of each: {self.expected}")

    def has(self, column: str) -> bool:
        """Whether the file has a column of that name."""
        head = beginning_of_text(self.path)
        lines = [line for line in head.splitlines() if line.strip()]
        return bool(lines) and column in replace(self, columns=[column])._names(lines[0])

    def _spelled(self) -> str:
        return SPELLED.get(self.separator, repr(self.separator))

    def frames(self, block_bytes: int) -> Iterator[Lines]:
        """The file's lines in blocks of about ``block_bytes``. A blank line is a row of nulls.

        Raises DataError if the file cannot be read, and for a line that is longer than a block.
        """
        number = 1
        names = [] if self.header else self._names(b"")
        for block, share in line_blocks(self.path, block_bytes):
            if number == 1:
                block = block.removeprefix(_BYTE_ORDER_MARK)
            while block and not names:
                line, _, block = block.partition(b"\n")
                number += 1
                if line.strip():
                    names = self._names(line)
            if block:
                yield Lines(self._parse(names, block), share, number)
                number += block.count(b"\n")

    def _names(self, line: bytes) -> list[str]:
        if not self.header:
            return list(self.names or self.columns)
        text = line.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", errors="replace").strip("\r\n")
        between = self._between.decode()
        text = text.replace(self.separator, between)
        fields = text.split(between)
        if self.quotes and '"' in text:
            with contextlib.suppress(csv.Error):
                fields = next(csv.reader([text], delimiter=between))
        names = [name.replace(between, self.separator).strip().strip('"') for name in fields]
        if all(name.endswith(_ATOMIC) for name in names):
            return [name if name in self.columns else name.rpartition(":")[0] for name in names]
        return names

    def _width(self, line: bytes) -> int:
        if self.quotes:
            line = re.sub(rb'"[^"]*"', b"", line)
        return line.count(self.separator.encode()) + 1

    @property
    def _between(self) -> bytes:
        """The byte that separates fields while a block is parsed: the parser takes only one."""
        separator = self.separator.encode()
        return separator if len(separator) == 1 else _UNIT

    def _parse(self, names: list[str], block: bytes) -> pl.DataFrame:
        between = self._between
        if between != self.separator.encode():
            block = block.replace(_UNIT, b" ").replace(self.separator.encode(), _UNIT)
        bad_quotes = between * len(names) + BAD_QUOTES.encode()
        if quoted := self.quotes and b'"' in block:
            block = _without_open_quotes(block, bad_quotes)
        try:
            try:
                frame, lossy = self._read(names, block, "utf8", quoted), False
            except pl.exceptions.ComputeError:  # try again, slower, and replace what cannot be read
                block = _without_misplaced_quotes(block, between, bad_quotes) if quoted else block
                frame, lossy = self._read(names, block, "utf8-lossy", quoted), True
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{self.path} cannot be read: {reason}; expected {self.expected}") from None
        # Columns are picked by number, since several other columns may have the same name.
        chosen = [pl.col(str(names.index(name))).alias(name) for name in self.columns]
        frame = frame.select(*chosen, pl.col(str(len(names))).alias(MORE))
        if quoted and between == _UNIT:
            frame = frame.with_columns(pl.all().str.replace_all(_UNIT.decode(), self.separator, literal=True))
        if lossy:
            replaced = pl.any_horizontal(
                column_of(name).str.contains(REPLACEMENT, literal=True) for name in self.columns
            )
            frame = frame.with_columns(pl.when(replaced).then(pl.lit(NOT_UTF8)).otherwise(pl.col(MORE)).alias(MORE))
        columns = [pl.when(column_of(name) != "").then(column_of(name)) for name in self.columns]
        return frame.select(*columns, MORE)

    def _read(self, names: list[str], block: bytes, encoding: str, quoted: bool) -> pl.DataFrame:
        # A header with numbered names, so that the number of columns does not depend on the block's first line.
        header = self._between.join(str(number).encode() for number in range(len(names) + 1))
        return pl.read_csv(
            io.BytesIO(header + b"\n" + block),
            separator=self._between.decode(),
            quote_char='"' if quoted else None,
            infer_schema=False,
            encoding=encoding,
            truncate_ragged_lines=True,
        )


def spelled_out(separator: str, key: str = "data.separator") -> str:
    """A typed separator as the characters in the file; a tab may be typed as ``\\t``.

    Raises DataError, which names the config's ``key``, if it is not valid.
    """
    typed = separator
    if re.fullmatch(r"(?:\\(?:t|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[|;,:\\]))+", separator):
        separator = re.sub(r"\\([|;,:])", r"\1", separator).encode().decode("unicode_escape")
    separator = {name: sign for sign, name in SPELLED.items()}.get(separator, separator)
    if not separator or any(sign in separator for sign in '"\r\n\0'):
        raise DataError(f'{key}={typed!r}: expected what stands between two columns, such as "," or "\\t"')
    return separator


def check_header(key: str, names: Sequence[str] | None) -> None:
    """Raises DataError unless ``names``, the value of the config's ``key``, names each column of a file once."""
    if names is None:
        return
    if not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{key}={names}: expected the names of all columns in their order, or null: the first line")
    if doubled := [name for name in names if list(names).count(name) > 1]:
        raise DataError(f"{key} names {doubled[0]!r} twice; expected another name for each column")


def _shown(line: bytes) -> str:
    return repr(re.sub(r"[^\x20-\x7e]", "?", line[:60].decode("latin-1")))


def column_of(name: str) -> pl.Expr:
    """The column of exactly this name: to ``pl.col``, names such as ``*`` and ``^a.*$`` are patterns."""
    return cs.by_name(name).as_expr()


def known_kind(head: bytes) -> str | None:
    """What kind of file begins with ``head``, and what to do about it; None if it may be plain text."""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def _without_open_quotes(block: bytes, instead: bytes) -> bytes:
    """``block`` in which the line ``instead`` replaces each line with an odd number of quotes.

    Otherwise the field of the last quote would continue over the end of its line, up to the next quote.
    """
    content = np.frombuffer(block, dtype=np.uint8)
    before = np.searchsorted(np.flatnonzero(content == ord('"')), np.flatnonzero(content == ord("\n")))
    lines = block.split(b"\n")
    quotes = np.diff(before, prepend=0, append=block.count(b'"'))
    for odd in np.flatnonzero(quotes % 2).tolist():
        lines[odd] = instead
    return b"\n".join(lines)


def _without_misplaced_quotes(block: bytes, separator: bytes, instead: bytes) -> bytes:
    """``block`` in which the line ``instead`` replaces each line with text between a quote and the end of its field."""
    between = re.escape(separator)
    quoted, plain = rb'"(?:[^"]|"")*"', rb"(?!\")[^" + between + rb"]*"
    sound = re.compile(rb"(?:%s|%s)(?:%s(?:%s|%s))*" % (quoted, plain, between, quoted, plain))
    lines = block.split(b"\n")
    return b"\n".join(line if sound.fullmatch(line.removesuffix(b"\r")) else instead for line in lines)
