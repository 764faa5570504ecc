"""Writes scored rows to a file, block by block: CSV, TSV, JSON lines or Parquet, told by the file's ending."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import polars as pl

from mdaf.data.reading.formats.by_ending import PARQUET
from mdaf.errors import UserError
from mdaf.files.atomic import write_atomically
from mdaf.files.replacing import Start, check_replaceable

_TEXT: dict[str, Callable[[pl.DataFrame, BinaryIO, bool], None]] = {
    ".csv": lambda frame, file, first: frame.write_csv(file, include_header=first),
    ".tsv": lambda frame, file, first: frame.write_csv(file, include_header=first, separator="\t"),
    ".jsonl": lambda frame, file, _: frame.write_ndjson(file),
    ".ndjson": lambda frame, file, _: frame.write_ndjson(file),
}
ENDINGS = (*PARQUET, *_TEXT, *(f"{ending}.gz" for ending in _TEXT))


def check_output(path: Path, score: str) -> None:
    """UserError if a file of that name cannot be written, or if it is there and its last column is not ``score``."""
    if not _ending(path):
        raise UserError(f"--out {path}: expected a name that ends in one of {', '.join(ENDINGS)}")
    check_replaceable(path, f"--out {path}", f"file with {score} as its last column", lambda it: _has(it, score))
    if not path.absolute().parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.absolute().parent}")


def _has(start: Start, score: str) -> bool:
    """Whether a file that begins so may be one of scores."""
    line = start.first_line
    if start.footer:
        return score.encode() in start.footer
    if line.startswith("{"):
        with suppress(ValueError):
            return list(json.loads(line))[-1:] == [score]
    return any(line == score or line.endswith((f"{mark}{score}", f'{mark}"{score}"')) for mark in ",\t")


def write_rows(path: Path, frames: Iterable[pl.DataFrame]) -> int:
    """Writes frames of the same columns, at least one, and returns the number of rows.

    The file appears when it is complete. UserError if its format has no place for a column's type.
    """
    rows = 0

    def counted() -> Iterator[pl.DataFrame]:
        nonlocal rows
        for frame in frames:
            rows += len(frame)
            yield frame

    ending = _ending(path)
    try:
        if ending in PARQUET:
            _write_parquet(path, counted())
        else:
            write_atomically(path, lambda file: _write_text(file, counted(), ending))
    except (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(f"--out {path}: cannot be written ({reason}); choose a name that ends in .parquet") from None
    return rows


def _ending(path: Path) -> str:
    name = path.name.lower()
    return next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if name.endswith(ending)), "")


def _write_text(file: BinaryIO, frames: Iterable[pl.DataFrame], ending: str) -> None:
    write, first = _TEXT[ending.removesuffix(".gz")], True
    zipped = gzip.GzipFile(fileobj=file, mode="wb", mtime=0) if ending.endswith(".gz") else None
    for frame in frames:
        write(frame, zipped or file, first)  # type: ignore[arg-type]
        first = False
    if zipped is not None:
        zipped.close()


def _write_parquet(path: Path, frames: Iterable[pl.DataFrame]) -> None:
    """Writes each block to a file of its own beside ``path``, and then all of them, as a stream, to one."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.absolute().parent) as folder:
        parts: list[Path] = []
        for frame in frames:
            parts.append(Path(folder) / f"{len(parts)}.parquet")
            frame.write_parquet(parts[-1])
        if len(parts) == 1:
            whole = parts[0]
        else:
            whole = Path(folder) / "whole.parquet"
            pl.scan_parquet(parts).sink_parquet(whole)
        with whole.open("rb") as read:
            write_atomically(path, lambda file: _copied(read, file))


def _copied(read: BinaryIO, file: BinaryIO) -> None:
    while block := read.read(1 << 24):
        file.write(block)
