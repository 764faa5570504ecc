"""Reads the bytes of a text file in blocks of whole lines, and decompresses gzip and zstd meanwhile.

A file's ending says how it is compressed: ``log.csv.gz``, ``log.jsonl.zst``. However large the file is, only a block of
it is in memory.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import polars as pl

from mdaf.data.reading.file_hashes import as_hashed, unreadable
from mdaf.errors import DataError

HEAD = 1 << 16  # bytes at the beginning of a file that show its kind
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_BYTES_OF_A_LINE = 64  # of a compressed file, where lines are counted instead of bytes
_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error)


class LineBlock(NamedTuple):
    """Whole lines of a file, and the share of the file that is read up to their end."""

    content: bytes
    share: float


def compression(path: Path) -> str | None:
    """``gzip`` or ``zstd``, by the file's ending; None if it is neither."""
    return COMPRESSED.get(path.suffix.lower())


def line_blocks(path: Path, block_bytes: int) -> Iterator[LineBlock]:
    """A text file in blocks of about ``block_bytes`` that end at the end of a line, without any compression.

    Raises DataError if the file cannot be read or is a damaged archive, and for a line that is longer than a block.
    """
    kind, longest = compression(path), max(block_bytes, HEAD)
    try:
        size = max(1, path.stat().st_size)
        if kind == "zstd":
            yield from _zstd_blocks(path, block_bytes, longest)
            return
        with path.open("rb") as raw:
            if kind is None:
                for block in as_hashed(path, _blocks(path, raw, block_bytes, longest)):
                    yield LineBlock(block, min(1.0, raw.tell() / size))
                return
            with gzip.GzipFile(fileobj=raw) as file:
                for block in _blocks(path, file, block_bytes, longest):
                    yield LineBlock(block, min(1.0, raw.tell() / size))
    except _DAMAGED as error:
        raise _damaged(path, str(error)) from None
    except OSError as error:
        raise unreadable(path, error) from None


def beginning(path: Path, most: int = HEAD) -> bytes:
    """The first bytes of a file, enough to recognize its kind, as they are. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise unreadable(path, error) from None


def beginning_of_text(path: Path, most: int = HEAD) -> bytes:
    """As ``beginning``, but decompressed. Raises DataError also if the file is no archive though its name says so."""
    kind = compression(path)
    if kind is None:
        return beginning(path, most)
    head = beginning(path, len(_MAGIC[kind]))
    if head and head != _MAGIC[kind]:
        raise DataError(f"{path} is not compressed with {kind}, as its name says it is; rename it or copy it again")
    found = b""
    for block in line_blocks(path, most):
        found += block.content
        if len(found) >= most:
            break
    return found[:most]


def _blocks(path: Path, file: BinaryIO | gzip.GzipFile, block_bytes: int, longest: int) -> Iterator[bytes]:
    number = 1
    while block := file.read(block_bytes):
        rest = b"" if block.endswith(b"\n") else file.readline(longest)
        number += block.count(b"\n")
        if len(rest) == longest and not rest.endswith(b"\n"):
            raise _too_long(path, number, longest, rest)
        number += rest.count(b"\n")
        yield block + rest


def _zstd_blocks(path: Path, block_bytes: int, longest: int) -> Iterator[LineBlock]:
    """The blocks of a file in zstd. polars decompresses it; the share that is read is a guess."""
    size, done, number = max(1, path.stat().st_size), 0, 1
    lines = max(1, block_bytes // _BYTES_OF_A_LINE)
    if not hasattr(pl, "scan_lines"):
        raise DataError(f"{path}: polars {pl.__version__} cannot read zstd in parts; decompress it, or update polars")
    try:
        for frame in pl.scan_lines(path, glob=False).collect_batches(chunk_size=lines, maintain_order=True):
            column = frame.to_series()
            if (column.str.len_bytes() >= longest).any():
                place = int((column.str.len_bytes() >= longest).arg_max() or 0)
                raise _too_long(path, number + place, longest, column[place].encode())
            block = "".join(f"{line}\n" for line in column).encode()
            number += len(column)
            done += len(block)
            yield LineBlock(block, done / (done + size))
    except pl.exceptions.ComputeError as error:
        if "utf8" in str(error):
            raise DataError(
                f"{path} is not UTF-8 throughout, and bad lines of an archive in zstd cannot be told apart; decompress "
                "it, or compress it with gzip"
            ) from None
        raise _damaged(path, str(error)) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, reason: str) -> DataError:
    said = " ".join(reason.split())
    return DataError(
        f"{path} cannot be decompressed: {said}; it is damaged or was cut off, so copy it again from where it came from"
    )


def _too_long(path: Path, number: int, longest: int, line: bytes) -> DataError:
    nul = ", NUL bytes among them, as where writing was cut short" if b"\0" in line else ""
    return DataError(
        f"{path}: line {number} is longer than {longest:,} bytes{nul}; expected shorter lines, or more memory "
        "(data.memory_gb)"
    )
