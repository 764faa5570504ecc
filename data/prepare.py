"""A raw log to a prepared store, once: keyed by content and settings, written aside, renamed when it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from data.durability import fsync_folder
from data.errors import DataError
from data.file_hashes import FileHashes
from data.leakage import leakage_check
from data.progress import Progress, between, silent
from data.source import Contents, Source, source_from
from data.store import FORMAT_VERSION, MANIFEST, SPLITS, EventStore
from data.writer import StoreWriter

log = logging.getLogger(__name__)


def prepare_config(node: DictConfig | Mapping[str, Any], progress: Progress = silent) -> EventStore:
    """``prepare`` for a config's ``data`` node, whose ``root`` says where stores lie."""
    return prepare(source_from(node), node["root"], progress)


def prepare(source: Source, root: str | Path, progress: Progress = silent) -> EventStore:
    """The store of ``source`` below ``root``: opened if it is there, else built.

    Two processes may prepare the same at once: the first to finish wins, the other takes its store. DataError if the
    log cannot be used, LeakageError if what was built leaks; either leaves nothing behind.
    """
    hashes = FileHashes(Path(root).expanduser(), progress)
    fingerprint = {"format": FORMAT_VERSION, "source": source.name, **source.fingerprint(hashes)}
    data_hash = hashlib.blake2b(json.dumps(fingerprint, sort_keys=True).encode(), digest_size=16).hexdigest()
    folder = Path(root).expanduser() / f"{source.name}-{data_hash[:12]}"
    identity = {**fingerprint, "data_hash": data_hash}
    store = _whole_store(folder) or _build(source, hashes, folder, identity, progress)
    if store.defects.rows:
        level = logging.WARNING if store.defects.bad else logging.INFO
        log.log(level, "%s: %s", folder.name, store.defects)
    return store


def _whole_store(folder: Path) -> EventStore | None:
    """The store in ``folder``, or None if there is none; a damaged one is removed, with a warning."""
    if not folder.exists():
        return None
    try:
        return EventStore.open(folder)
    except DataError as error:
        log.warning("%s; preparing it again", error)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-damaged-", dir=folder.parent))
        with contextlib.suppress(FileNotFoundError):  # another process may have moved it already
            folder.rename(aside / folder.name)
        shutil.rmtree(aside, ignore_errors=True)
        return None


def _build(
    source: Source, hashes: FileHashes, folder: Path, identity: Mapping[str, Any], progress: Progress
) -> EventStore:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise DataError(f"data.root={folder.parent}: cannot be written to: {error.strerror}") from None
    try:
        with StoreWriter(aside) as writer, hashes.watched():
            contents = source.build(writer, between(progress, 0.0, 0.9))
            _refuse_empty_splits(source, writer.lengths)
        progress("checking for leakage", 0.95)
        _write_manifest(aside, identity, contents, writer.lengths)
        leakage_check(EventStore.open(aside))
        _publish(aside, folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    progress("done", 1.0)
    return EventStore.open(folder)


def _refuse_empty_splits(source: Source, lengths: Mapping[str, int]) -> None:
    for split in SPLITS:
        if not lengths.get(f"{split}.label"):
            raise DataError(
                f"{source.name}: the {split} split is empty; the log must reach from before the validation period "
                "into the test period (data.validation_start, data.test_start)"
            )


def _write_manifest(folder: Path, identity: Mapping[str, Any], contents: Contents, lengths: Mapping[str, int]) -> None:
    manifest = {
        **identity,
        "schema": contents.schema.to_json(),
        "boundaries": {"validation": contents.validation, "test": contents.test},
        "counts": {
            "events": lengths["events.time"],
            "users": lengths["user_offsets"] - 1,
            "samples": {split: lengths[f"{split}.label"] for split in SPLITS},
        },
        "defects": contents.defects.to_json(),
        "files": {f"{name}.npy": (folder / f"{name}.npy").stat().st_size for name in lengths},
    }
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fsync_folder(folder)


def _publish(aside: Path, folder: Path) -> None:
    """Renames the whole store to its name, unless another process was first."""
    os.chmod(aside, 0o755)  # temporary folders are private, a store may be shared
    try:
        aside.rename(folder)
    except OSError:
        if _whole_store(folder) is None:
            aside.rename(folder)
    fsync_folder(folder.parent)
