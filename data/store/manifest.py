"""Reads and writes ``store.json``, the manifest of a store. All its entries are checked before they are used."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdaf.data.reading.defects import Defects
from mdaf.data.schema import Schema
from mdaf.data.store.promises import PROMISE, SENTENCES, TIME
from mdaf.errors import DamagedStoreError, DataError
from mdaf.files.atomic import fsync_folder

FORMAT_VERSION = 2
MANIFEST = "store.json"
SPLITS = ("train", "validation", "test")
VOCABULARY, WORD_ENDS = "vocabulary", "word_ends"  # begin the names of a table's raw values, and of where words end
MEMBERS, MEMBER_ENDS = "members", "member_ends"  # of a multi-valued field: the values that have a row of their own
CELL_IDS, CELL_WEIGHTS = "cell_ids", "cell_weights"  # of each code of a numeric or multi-valued field, from 0 on
REMEDY = "delete the folder and prepare it again"
CANDIDATE_GROUPS = "candidate_groups"  # whether samples are positives with drawn negatives; old stores lack it
CHECKSUM, CRC32 = "checksum", "crc32"  # of the manifest and of each file; old stores have none
_ARRAY = re.compile(r"[^./\\\0][^/\\\0]*\.npy")
_HASH = re.compile(r"[0-9a-f]{32}")
_MOST = 1 << 62  # bytes, seconds, rows


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes a store's manifest, with a checksum of itself."""
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump({**manifest, CHECKSUM: _checksum(manifest)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fsync_folder(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the store in ``folder``.

    Raises DamagedStoreError if it is missing or not valid, DataError if it has another format, and OSError if the
    system cannot read it.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        if folder.is_symlink() and not folder.exists():
            raise DataError(f"{folder} is a link to {os.readlink(folder)}, which is not there now") from None
        if not folder.exists():
            raise DataError(f"{folder} is not a prepared store: there is no such folder") from None
        raise DamagedStoreError(f"{folder} is not a prepared store: it has no {MANIFEST}", REMEDY) from None
    try:
        manifest = json.loads(content)
        version, _ = manifest["format"], manifest["files"]
        if version == FORMAT_VERSION:
            _check(manifest)
    except Exception as error:  # content of a wrong type can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DamagedStoreError(f"{path} cannot be read as a manifest ({reason})", REMEDY) from None
    if version != FORMAT_VERSION:
        raise DataError(f"{path} has format {version!r}, this program reads {FORMAT_VERSION}; {REMEDY}")
    return manifest


def _checksum(manifest: Mapping[str, Any]) -> str:
    """The checksum of all entries of a manifest, without the checksum itself."""
    rest = {key: value for key, value in manifest.items() if key != CHECKSUM}
    return hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=16).hexdigest()


def _check(manifest: Mapping[str, Any]) -> None:
    """Raises an exception of any class if an entry has not the type that its readers expect."""
    if CHECKSUM in manifest and manifest[CHECKSUM] != _checksum(manifest):
        raise ValueError("its checksum is not that of its content")
    files = manifest["files"]
    for name in files:
        if not _ARRAY.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an array's file")
    _check_numbers("files", files, files)
    if CRC32 in manifest:
        _check_numbers(CRC32, manifest[CRC32], files)
        if manifest[CRC32].keys() != files.keys():
            raise ValueError(f"{CRC32} and files name different files")
    schema = Schema.from_json(manifest["schema"])
    _check_numbers("schema.tables", schema.tables, schema.tables)
    fields = (*schema.static, *schema.sequence, *schema.matches)
    if not all(isinstance(text, str) for field in fields for text in (field.name, field.table)):
        raise ValueError("schema has fields without names")
    _check_numbers("schema", manifest["schema"], ("length",), lowest=1)
    _check_numbers("boundaries", manifest["boundaries"], ("validation", "test"), lowest=-_MOST)
    _check_numbers("counts", manifest["counts"], ("events", "users"))
    _check_numbers("counts.samples", manifest["counts"]["samples"], SPLITS)
    _check_numbers("counts.positives", manifest["counts"].get("positives", {}), manifest["counts"].get("positives", ()))
    _check_numbers("defects", manifest["defects"], ("rows",))
    defects = Defects.from_json(manifest["defects"])
    for kinds in (defects.dropped, defects.corrected, defects.incomplete):
        _check_numbers("defects", kinds, kinds)
    if not all(isinstance(text, str) for text in defects.examples.values()):
        raise ValueError("defects has examples that are no text")
    if manifest.get(PROMISE, TIME) not in SENTENCES:
        raise ValueError(f"{PROMISE} is {manifest[PROMISE]!r}, expected one of {', '.join(SENTENCES)}")
    if type(manifest.get(CANDIDATE_GROUPS, False)) is not bool:
        raise ValueError(f"{CANDIDATE_GROUPS} is {manifest[CANDIDATE_GROUPS]!r}, expected true or false")
    if not _HASH.fullmatch(manifest["data_hash"]):
        raise ValueError(f"data_hash is {manifest['data_hash']!r}")


def _check_numbers(group: str, numbers: Mapping[str, Any], keys: Any, lowest: int = 0) -> None:
    if not isinstance(numbers, dict):
        raise ValueError(f"{group} is {numbers!r}, expected names and numbers")
    for key in keys:
        value = numbers[key]
        if type(value) is not int or not lowest <= value <= _MOST:
            raise ValueError(f"{group}.{key} is {value!r}, expected a whole number")
