"""Finds the files that a config names: one file, several, all of a folder, or those that match a pattern."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from mdaf.data.reading.formats.lines import compression
from mdaf.errors import DataError

NOTES = ("README", "LICENSE")  # files about the others, with any ending


def expanded(path: str | Path, key: str) -> Path:
    """The path of the config's ``key``, with ``~`` expanded. Raises DataError if the home folder is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DataError(f"{key}={path}: the home folder is not known; write it out instead of ~") from None


def required_file(path: str | None, key: str, expected: str) -> Path:
    """The file of the config's ``key``. Raises DataError if the key is not set, or if there is no such file."""
    if path is None:
        raise DataError(f"{key} is not set: expected the path of {expected}; give it as {key}=FILE")
    file = expanded(path, key)
    kind = _kind_of(file, f"{key}={path}", expected)
    if not stat.S_ISREG(kind):
        found = "a folder" if stat.S_ISDIR(kind) else "no regular file"
        raise DataError(f"{key}={path} is {found}; expected the path of {expected}")
    return file


def required_files(typed: object, key: str, expected: str) -> list[Path]:
    """The files of the config's ``key``: a path, a folder, a pattern such as ``logs/*.csv``, or a list of these.

    Those of a list come in its order, those of a folder or a pattern sorted by name. Raises DataError if there is none,
    or if one is named twice.
    """
    parts: list[Any] = list(typed) if isinstance(typed, list | tuple) else [typed]
    parts = [str(part) if isinstance(part, int) else part for part in parts]  # a folder called 2023
    if not parts or not all(isinstance(part, str) or part is None for part in parts):
        raise DataError(f"{key}={typed}: expected the path of {expected}, or a list of paths: {key}=[a.csv,b.csv]")
    files = [file for part in parts for file in _files(part, key, expected)]
    seen: set[Path] = set()
    for file in files:
        if (resolved := file.resolve()) in seen:
            raise DataError(f"{key}={named(typed)} names {file} twice; expected each file once")
        seen.add(resolved)
    return files


def named(typed: object) -> str:
    """What a message calls the value of a key of files."""
    return f"[{','.join(map(str, typed))}]" if isinstance(typed, list | tuple) else str(typed)


def beside(file: Path, name: str) -> Path:
    """The file ``name`` in the same folder; if ``name`` begins with a dot, the file with that ending instead."""
    if compression(file) and name.startswith("."):
        file = file.with_suffix("")
    return file.with_suffix(name) if name.startswith(".") else file.with_name(name)


def lies_beside(file: Path, names: Collection[str]) -> bool:
    """Whether a file is one that ``beside`` finds by one of these names or endings."""
    return any(file.suffix == name if name.startswith(".") else file.name == name for name in names)


def _files(part: str | None, key: str, expected: str) -> Iterator[Path]:
    if part is None:
        required_file(None, key, expected)
        return
    path = expanded(part, key)
    if glob.has_magic(str(path)) and not os.path.lexists(path):
        found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(name)]
        if not found:
            raise DataError(f"{key}={part} matches no file; expected the path of {expected}")
        yield from found
    elif stat.S_ISDIR(_kind_of(path, f"{key}={part}", expected)):
        yield from _in_folder(path, f"{key}={part}", expected)
    else:
        yield required_file(part, key, expected)


def _in_folder(folder: Path, said: str, expected: str) -> Iterator[Path]:
    """The files of a folder and of those below it, but for hidden ones and notes such as ``_SUCCESS`` and README."""
    found = []
    for file in folder.rglob("*"):
        inner = file.relative_to(folder).parts
        is_note = file.stem.upper() in NOTES or any(part.startswith((".", "_")) for part in inner)
        if file.is_file() and not is_note:
            found.append(file)
    if not found:
        raise DataError(f"{said} is a folder without files; expected the path of {expected}")
    yield from sorted(found)


def _kind_of(file: Path, said: str, expected: str) -> int:
    try:
        return file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{said} does not exist; expected the path of {expected}") from None
    except OSError as error:
        raise DataError(f"{said} cannot be read: {error.strerror}; expected the path of {expected}") from None
