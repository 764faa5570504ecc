"""Checkpoints of a run. Each is verified when it is read; the previous one is kept until the next is on the disk."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from mdaf.errors import UserError
from mdaf.files.atomic import fsync_folder, write_atomically
from mdaf.files.plain import plain
from mdaf.sweeper.runs.packing import form_of, pack, unpack
from mdaf.sweeper.runs.reader import BEST, RESULT, checkpoint_digest, was_written

log = logging.getLogger(__name__)

LAST = "last.pt"
DIGEST = "digest"
BEFORE = "last.before.pt"  # the previous checkpoint, until the run is finished
# System errors that do not mean that the file is damaged.
UNREADABLE = (
    errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT,
)  # fmt: skip


class DamagedError(ValueError):
    """A file that is not a checkpoint, or is damaged."""


@dataclass(frozen=True, order=True)
class Position:
    """Where training resumes: in ``epoch`` (from 1), after ``step`` of its steps."""

    epoch: int
    step: int


START = Position(1, 0)


@dataclass(frozen=True)
class PartialEpoch:
    """What a replica has accumulated in an unfinished epoch: losses (step,), logits (row,) and seconds."""

    losses: Tensor
    logits: Tensor
    seconds: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint of one replica: everything that it needs to resume as if it had never stopped.

    ``history``   rows of metrics.csv so far
    ``optimizer`` as ``Replicas.optimizer_state`` gives it; empty after the last epoch
    ``partial_epoch``  of the unfinished epoch; None between two epochs
    ``parts``     ``mdaf.sweeper.runs.parts`` of the run so far; none in states of versions that did not write them
    ``file``      the name of the file from which it was read
    """

    position: Position
    history: list[dict[str, Any]]
    weights: dict[str, Tensor]
    optimizer: list[dict[str, Any]]
    partial_epoch: PartialEpoch | None
    seed: int
    config_hash: str
    data_hash: str
    parts: list[dict[str, Any]] = field(default_factory=list)
    file: str = LAST

    def content(self) -> dict[str, Any]:
        """The content of the file, with weights and optimizer packed: what resuming needs, and keys for people."""
        row = self.history[-1] if self.history else {}
        return {
            "epoch": row.get("epoch", 0),
            "val_auc": row.get("val_auc"),
            "metrics_history": self.history,
            "weights": pack(self.weights),
            "optimizer": pack(self.optimizer),
            # Every random stream is a function of the seed and the position: these are all their state.
            "streams": {"seed": self.seed, "epochs_done": self.position.epoch - 1, **asdict(self.position)},
            "underway": None if self.partial_epoch is None else asdict(self.partial_epoch),
            "config_hash": self.config_hash,
            "data_hash": self.data_hash,
            "parts": self.parts,
        }


def save(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes ``sealed`` content to ``last.pt``; the previous checkpoint becomes ``last.before.pt``."""
    put(folder / LAST, content, _put_in_place)


def put(path: Path, content: Mapping[str, Any], put_in_place: Callable[[Path, Path], Any] = Path.replace) -> None:
    """Writes ``content`` to a file, whose SHA-256 is known from then on."""
    digests: list[str] = []
    write_atomically(path, lambda file: digests.append(write(content, file)), put_in_place)
    was_written(path, digests[0])


def link_best(folder: Path, content: Mapping[str, Any]) -> None:
    """Makes ``best.pt`` a hard link to ``last.pt``, which holds ``content``; it is written again if that fails."""
    draft = folder / f".{BEST}.{os.getpid()}.link"
    try:
        os.link(folder / LAST, draft)
        draft.replace(folder / BEST)
        fsync_folder(folder)
    except OSError:  # a file system without hard links
        put(folder / BEST, content)
    finally:
        draft.unlink(missing_ok=True)


def go_back(folder: Path) -> None:
    """Renames ``last.before.pt``, if it is there, to ``last.pt``."""
    with suppress(FileNotFoundError):
        (folder / BEFORE).replace(folder / LAST)
        fsync_folder(folder)


def _put_in_place(draft: Path, path: Path) -> None:
    """Renames a new checkpoint to ``last.pt`` and the previous one to ``last.before.pt``."""
    before = path.with_name(BEFORE)
    if path.exists():
        second_name = draft.with_name(f"{draft.name}.before")
        try:
            os.link(path, second_name)
            second_name.replace(before)
            second_name.unlink(missing_ok=True)  # renaming a hard link over another one of the same file leaves both
        except OSError:  # a file system without hard links: for a moment there is no last.pt
            path.replace(before)
    draft.replace(path)


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` as it is written: with weights by name, and the digest that ``read`` verifies."""
    return {**content, "weights": unpack(content["weights"]), DIGEST: digest(content)}


def digest(content: Any) -> str:
    """A hash of nested mappings, lists, tensors and plain values."""
    tensors: list[Tensor] = []
    hashed: Any = hashlib.sha256(repr(form_of(content, tensors)).encode())  # in hardware on most machines
    for tensor in tensors:
        hashed.update(f"{tensor.dtype} ".encode())
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return hashed.hexdigest()


def write(content: Mapping[str, Any], file: BinaryIO) -> str:
    """Writes tensors and plain values, to be read with ``torch.load(..., weights_only=True)``.

    Returns the SHA-256 of what was written. Raises OSError if the file cannot be written: torch itself raises an error
    that does not name the cause.
    """
    remembering = _Remembering(file)
    try:
        torch.save(dict(content), remembering)  # type: ignore[arg-type]
    except RuntimeError:
        if remembering.error is not None:
            raise remembering.error from None
        raise
    return remembering.sha256.hexdigest()


class _Remembering:
    """A file, written from its beginning to its end, that remembers its SHA-256 and the OSError of a failed write."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        try:
            written = self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.sha256.update(data)
        return written

    def flush(self) -> None:
        self._file.flush()


def saved_in(folder: Path) -> list[Saved]:
    """The undamaged checkpoints in a run folder, the latest first. Logs a warning about a damaged one."""
    found = []
    for name in (LAST, BEFORE):
        try:
            found.append(read(folder / name))
        except FileNotFoundError:
            continue
        except DamagedError as error:
            log.warning("%s; the state before it is used, if there is one", error)
    return sorted(found, key=lambda saved: saved.position, reverse=True)


def read(path: Path) -> Saved:
    """Reads a checkpoint. DamagedError if it is not what was written.

    UserError if the system cannot read the file now: the checkpoint may be undamaged, so it must not be overwritten.

    torch does not verify the checksums in its files, so a flipped bit would change a weight; and they do not cover the
    offsets of the parts. Therefore the content has a digest of its own.
    """
    try:
        content = dict(torch.load(plain(path), map_location="cpu", weights_only=True))
        if content.pop(DIGEST) != digest({**content, "weights": pack(content["weights"])}):
            raise DamagedError("it does not hold what was written")
        return replace(_parsed(content), file=path.name)
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # what a reader of damaged bytes raises may be anything
        if isinstance(error, OSError) and error.errno in UNREADABLE:
            raise UserError(
                f"{path} cannot be read: {os.strerror(error.errno)}; it is left as it is: type the same command again "
                "once it can"
            ) from error
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DamagedError(f"{path}: found no whole checkpoint: {reason}") from error


def read_best(folder: Path, result: Mapping[str, Any]) -> Saved:
    """The checkpoint of a finished run's best epoch. UserError if it is damaged or does not match ``result``."""
    file = folder / BEST
    try:
        saved = read(file)
    except FileNotFoundError:
        raise UserError(f"{file}: not there, so the run's rows cannot be scored again") from None
    except DamagedError as error:
        raise UserError(f"{error}; train the run again, or leave it out") from None
    best = result["best"]
    row = saved.history[-1] if saved.history else {}
    for what, theirs, ours in (
        ("config hash", saved.config_hash, result["config_hash"]),
        ("data hash", saved.data_hash, result["data_hash"]),
        ("seed", saved.seed, result["seed"]),
        ("best epoch", row.get("epoch"), result["best_epoch"]),
        ("validation AUC", row.get("val_auc"), best.get("val_auc")),
        ("SHA-256", checkpoint_digest(folder), result.get("checkpoint") or checkpoint_digest(folder)),
    ):
        if theirs != ours:
            raise UserError(
                f"{file}: its {what} is {theirs}, but {folder / RESULT} says {ours}: it is of another run; put the "
                "run's own file back, or train it again"
            )
    return saved


def _parsed(content: Any) -> Saved:
    streams, partial_epoch = content["streams"], content["underway"]
    saved = Saved(
        position=Position(int(streams["epoch"]), int(streams["step"])),
        history=list(content["metrics_history"]),
        weights=dict(content["weights"]),
        optimizer=unpack(content["optimizer"]),
        partial_epoch=None if partial_epoch is None else PartialEpoch(**partial_epoch),
        seed=int(streams["seed"]),
        config_hash=str(content["config_hash"]),
        data_hash=str(content["data_hash"]),
        parts=[dict(part) for part in content.get("parts", ())],
    )
    if (saved.position.step > 0) != (partial_epoch is not None) or saved.position.epoch != len(saved.history) + 1:
        raise DamagedError(f"it says {saved.position}, and has {len(saved.history)} epochs of metrics")
    return saved
