"""Which format a file has, by its ending: Parquet, JSON lines, or delimited text. The last two may be compressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mdaf.data.reading.formats.delimited import TextFile, spelled_out
from mdaf.data.reading.formats.json_lines import JsonLines
from mdaf.data.reading.formats.lines import compression
from mdaf.data.reading.formats.parquet import ParquetFile
from mdaf.errors import DataError

TableFile = TextFile | ParquetFile | JsonLines
PARQUET = (".parquet", ".pq")
JSON = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class Spelling:
    """How files are written, where their ending does not tell.

    ``separator``        of text, as it was typed.
    ``header``           the names of the columns of text without a header; None: the first line names them.
    ``quotes``           whether fields of text may be in quotes.
    ``row_group_bytes``  how large a row group of a Parquet file may be.
    ``between``          column -> what stands between the values of a list, where a cell holds a list.
    """

    separator: str
    header: Sequence[str] | None
    quotes: bool
    row_group_bytes: int
    between: Mapping[str, str] = field(default_factory=dict)


def table_file(path: Path, columns: Sequence[str], expected: str, spelling: Spelling) -> TableFile:
    """A file from which some columns are read. ``expected`` describes it in error messages."""
    bare = path.with_suffix("") if compression(path) else path
    ending = bare.suffix.lower()
    if ending in PARQUET:
        if bare != path:
            raise DataError(f"{path} is a Parquet file in an archive; decompress it: Parquet is compressed in itself")
        _refuse_header(path, spelling)
        return ParquetFile(path, columns, expected, most=spelling.row_group_bytes, between=spelling.between)
    if ending in JSON:
        _refuse_header(path, spelling)
        return JsonLines(path, columns, f"{expected}, as keys of a JSON object a line", spelling.between)
    header = spelling.header
    return TextFile(
        path,
        columns,
        f"{expected}, named in the first line" if header is None else expected,
        spelled_out(spelling.separator),
        header=header is None,
        quotes=spelling.quotes,
        names=header or (),
    )


def _refuse_header(path: Path, spelling: Spelling) -> None:
    if spelling.header is not None:
        raise DataError(f"{path} names its columns itself; expected data.header=null for it")
