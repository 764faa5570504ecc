"""Prepares a store from a raw log. The store is written to a temporary folder, which is renamed when it is complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import DictConfig

from mdaf.data.preparing.checking.deciding import REFUSE, check_deciding
from mdaf.data.preparing.checking.leakage import leakage_check
from mdaf.data.preparing.scratch import scratch, set_aside, sweep
from mdaf.data.preparing.source import Contents, Source, source_from
from mdaf.data.preparing.spill import GIGABYTE
from mdaf.data.preparing.splits.rules import BY_USER, LEAVE_ONE_OUT
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.log_files import expanded
from mdaf.data.store.event_store import EventStore
from mdaf.data.store.integrity.ranges import check_ranges
from mdaf.data.store.integrity.verification import checksums_of, stamped, states_of
from mdaf.data.store.manifest import CANDIDATE_GROUPS, CRC32, FORMAT_VERSION, REMEDY, SPLITS, write_manifest
from mdaf.data.store.promises import PROMISE
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DamagedStoreError, DataError
from mdaf.files.atomic import exchange, fsync_folder
from mdaf.terminal.progress import Progress, between, silent

log = logging.getLogger(__name__)


def prepare_config(
    node: DictConfig | Mapping[str, Any], progress: Progress = silent, deep: bool = False, *, silently: bool = False
) -> EventStore:
    """``prepare`` for a config's ``data`` node, whose key ``root`` is the folder of the stores."""
    decided = node.get("decided_labels", REFUSE)
    return prepare(source_from(node), node["root"], progress, deep, decided, silently=silently)


def prepare(
    source: Source,
    root: str | Path,
    progress: Progress = silent,
    deep: bool = False,
    decided: str = REFUSE,
    *,
    silently: bool = False,
) -> EventStore:
    """Opens the store of ``source`` below ``root``, or builds it if there is none or if it is damaged.

    ``deep``      whether an existing store is verified completely; see ``EventStore.open``.
    ``decided``   what is done about a label that a trivial fact decides; see ``check_deciding``.
    ``silently``  leaves it to the caller to call ``say_what_was_read``.

    Two processes may build the same store at the same time: the first to finish wins, the other opens its store.
    Raises DataError if the log cannot be used and LeakageError if the store leaks; neither leaves files behind.
    """
    root = expanded(root, "data.root")
    hashes = FileHashes(root, progress)
    fingerprint = {"format": FORMAT_VERSION, "source": source.name, **source.fingerprint(hashes)}
    if decided != REFUSE:  # a store of its own: what was let pass once is refused to whoever did not ask for that
        fingerprint["decided_labels"] = decided
    data_hash = hashlib.blake2b(json.dumps(fingerprint, sort_keys=True).encode(), digest_size=16).hexdigest()
    folder = root / f"{source.name}-{data_hash[:12]}"
    identity = {**fingerprint, "data_hash": data_hash}
    sweep(root)
    store = None
    try:
        store = _existing_store(folder, data_hash, deep)
    except DamagedStoreError as error:
        log.warning("%s; preparing it again", error.found)
    if store is not None:
        _refuse_one_sided_splits(
            source, {split: (len(store.samples[split]), store.positives(split)) for split in SPLITS}
        )
    store = store or _build(source, hashes, folder, identity, progress, decided)
    if not silently:
        say_what_was_read(store)
    return store


def say_what_was_read(store: EventStore, extra: Mapping[str, object] | None = None) -> None:
    """Logs how many rows of the raw log were read, dropped and corrected; a warning if any were."""
    if store.defects.rows:
        level = logging.WARNING if store.defects.bad else logging.INFO
        log.log(level, "%s: %s", store.folder.name, store.defects, extra=extra)


def _existing_store(folder: Path, data_hash: str, deep: bool = False) -> EventStore | None:
    """The store in ``folder``; None if there is no folder.

    Raises DamagedStoreError if the store is certainly damaged or another one, DataError if that is unknown.
    """
    if not os.path.lexists(folder):
        return None
    store = EventStore.open(folder, deep)
    if store.data_hash != data_hash:
        raise DamagedStoreError(f"{folder} holds the store of other data, {store.data_hash}", REMEDY)
    return store


def _build(
    source: Source, hashes: FileHashes, folder: Path, identity: Mapping[str, Any], progress: Progress, decided: str
) -> EventStore:
    with ExitStack() as stack:
        try:
            draft = stack.enter_context(scratch(folder.parent, folder.name))
        except OSError as error:
            raise DataError(f"data.root={folder.parent}: cannot be written to: {error.strerror}") from None
        try:
            with hashes.watched(), StoreWriter(draft) as writer:
                contents = source.build(writer, between(progress, 0.0, 0.9))
                _refuse_empty_splits(source, writer.lengths)
            rows = {split: writer.lengths[f"{split}.label"] for split in SPLITS}
            _refuse_one_sided_splits(source, {split: (rows[split], writer.positives[split]) for split in SPLITS})
            if contents.defects.rows:
                name = str(getattr(source, "path", source.name))
                contents.defects.refuse_if_too_many(name, getattr(source, "max_bad_fraction", 1.0))
            progress("checking for leakage", 0.95)
            _write_manifest(draft, identity, contents, writer)
            built = EventStore.open(draft)
            leakage_check(built)
            check_ranges(built)
            check_deciding(built, folder.name, decided)
            del built  # releases the folder's lock
            _publish(draft, folder, identity["data_hash"])
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _unwritable(folder, error) from None
    progress("done", 1.0)
    return EventStore.open(folder)


def _unwritable(folder: Path, error: Exception) -> DataError:
    """The error to raise if a store cannot be written. It names the free space: numpy and polars do not report that."""
    reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
    with contextlib.suppress(OSError):
        reason += f"; {shutil.disk_usage(folder.parent).free / GIGABYTE:.1f} GB are free there, and preparing needs"
        reason += " about ten times the raw file"
    return DataError(f"{folder} cannot be written: {reason}")


def _refuse_empty_splits(source: Source, lengths: Mapping[str, int]) -> None:
    for split in SPLITS:
        if not lengths.get(f"{split}.label"):
            raise DataError(f"{source.name}: the {split} split is empty; {_needed(source)}")


def _needed(source: Source) -> str:
    """What a log needs so that no split is empty."""
    rule = getattr(source, "splits", None)
    if rule == LEAVE_ONE_OUT:
        return "data.splits=leave_one_out needs users with three rows or more"
    if rule == BY_USER:
        return "the log has too few users for data.validation_share and data.test_share"
    share = getattr(source, "held_out_users", 0)
    both = f", and have users of both kinds for data.held_out_users={share}" if share else ""
    return (
        "the log must reach from before the validation period into the test period (data.validation_start, "
        f"data.test_start){both}"
    )


def _refuse_one_sided_splits(source: Source, counts: Mapping[str, tuple[int, int]]) -> None:
    """DataError if the samples of a split are all clicked or all not: nothing is learned from them, and no AUC known.

    ``counts``  split -> samples and positives.
    """
    keys = ("positive_from", "negatives", "click_rating", "purchase", "validation_start", "test_start", "samples_path")
    decide = ", ".join(f"data.{key}" for key in keys if getattr(source, key, None) is not None)
    for split, (rows, positives) in counts.items():
        if positives in (0, rows):
            which = "every one" if positives else "none"
            raise DataError(
                f"{source.name}: {which} of the {rows:,} samples of split {split} is a positive; expected some of both "
                f"in every split{f' ({decide})' if decide else ''}"
            )


def _write_manifest(folder: Path, identity: Mapping[str, Any], contents: Contents, writer: StoreWriter) -> None:
    lengths = writer.lengths
    files = {f"{name}.npy": (folder / f"{name}.npy").stat().st_size for name in lengths}
    states = states_of(folder, files)
    with stamped(folder, states):
        manifest = {
            **identity,
            "schema": contents.schema.to_json(),
            **({"cells": {table: rows.to_json() for table, rows in contents.cells.items()}} if contents.cells else {}),
            "boundaries": {"validation": contents.validation, "test": contents.test},
            "counts": {
                "events": lengths["events.time"],
                "users": lengths["user_offsets"] - 1,
                "samples": {split: lengths[f"{split}.label"] for split in SPLITS},
                "positives": writer.positives,
            },
            "defects": contents.defects.to_json(),
            CANDIDATE_GROUPS: contents.grouped,
            PROMISE: contents.promise,
            "files": files,
            CRC32: checksums_of(folder, files),
        }
        write_manifest(folder, manifest)


def _publish(draft: Path, folder: Path, data_hash: str) -> None:
    """Renames the complete store to its final name, unless another process was first.

    A damaged store of that name is renamed, not deleted, because other processes may be reading it.
    """
    os.chmod(draft, 0o755)  # temporary folders are private, a store may be shared
    try:
        draft.rename(folder)
    except OSError:
        if not os.path.lexists(folder):
            raise
        try:
            _existing_store(folder, data_hash)
        except DamagedStoreError:
            exchange(draft, folder)
            set_aside(draft, folder.name)
    fsync_folder(folder.parent)
