"""A finished run's scores of a split's rows, from its best checkpoint; kept beside it, since they are computed once.

Each time that the test split is scored is written to a log that only grows (``mdaf.sweeper.runs.test_reads``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import EventStore
from mdaf.errors import UserError
from mdaf.files.atomic import write_atomically
from mdaf.files.plain import plain
from mdaf.messages.logs import warn_once
from mdaf.sweeper.job.trained_run import TrainedRun
from mdaf.sweeper.runs.reader import BEST, checkpoint_digest
from mdaf.sweeper.runs.test_reads import log_read
from mdaf.sweeper.training.evaluating.evaluation import predict
from mdaf.terminal.progress import shown

log = logging.getLogger(__name__)


class NotFiniteError(UserError):
    """Scores that are no finite numbers, which no metric may be computed from."""


@dataclass(frozen=True)
class Scores:
    """``logits`` of a split's rows, finite, with their ``users`` (dense index) and ``labels``; (row,) each."""

    logits: np.ndarray
    labels: np.ndarray
    users: np.ndarray


def scores_file(folder: Path, split: str) -> Path:
    """Where a run's scores of a split lie."""
    return folder / f"scores_{split}.npz"


def read_scores(folder: Path, split: str) -> Scores | None:
    """The scores that the run's present best.pt has given to a split's rows; None where none were kept.

    A file that is damaged, or that another checkpoint gave, counts as none and is named in a warning.
    """
    file = scores_file(folder, split)
    if not file.exists():
        return None
    try:
        with np.load(plain(file), allow_pickle=False) as held:
            checkpoint = str(held["checkpoint"]) if "checkpoint" in held else "one that it does not name"
            scores = Scores(*(held[name] for name in ("logits", "labels", "users")))
            if {part.shape for part in (scores.labels, scores.users)} != {(len(scores.logits),)}:
                raise ValueError("its arrays are of different lengths")
            finite = bool(np.isfinite(scores.logits).all())
    except Exception as error:  # what numpy and zipfile raise of damaged bytes has nothing in common
        warn_once(log, "%s is damaged (%s); its scores are left out", file, error or type(error).__name__)
        return None
    if checkpoint != checkpoint_digest(folder):
        warn_once(log, "%s holds the scores of another checkpoint (%s); they are left out", file, checkpoint[:12])
        return None
    if not finite:
        raise NotFiniteError(f"{file}: holds scores that are not finite: the run diverged; leave it out")
    return scores


@dataclass(frozen=True)
class DigestedRun:
    """A run, and the digest that its best.pt had before it was read: whatever comes in between is found out."""

    digest: str | None
    run: TrainedRun

    @classmethod
    def read(cls, folder: Path) -> DigestedRun:
        """Reads a run as ``TrainedRun.read`` does."""
        return cls(checkpoint_digest(folder), TrainedRun.read(folder))


class Scorer:
    """Scores runs; stores that were opened stay open for the next run on the same data."""

    def __init__(self) -> None:
        self._stores: dict[str, tuple[EventStore, DeviceStore]] = {}

    def score(self, folder: Path, split: str) -> Scores:
        """Rebuilds the run's model from its config and its best.pt and scores every row of ``split``."""
        return self._score(TrainedRun.read(folder), split)

    def _score(self, run: TrainedRun, split: str) -> Scores:
        device = run.set_up_device()
        store, gathered = self._store(run.config, device)
        run.refuse_other_data(store)
        replicas = run.model(store, device)
        precision = run.precision(device)
        rows = gathered.rows(split)[None]
        found = predict(replicas, gathered, split, rows, run.config.training.eval_batch_size, precision)
        logits = found.logits[0].float().cpu().numpy()
        if not np.isfinite(logits).all():
            strange = np.count_nonzero(~np.isfinite(logits))
            raise NotFiniteError(
                f"{run.folder / BEST}: scores {strange:,} of {len(logits):,} {split} rows with no finite number: "
                "the run diverged; leave it out"
            )
        return Scores(
            logits,
            gathered.labels(split).cpu().numpy().astype(np.int8),
            gathered.users(split).cpu().numpy(),
        )

    def keep(self, run: DigestedRun, split: str) -> None:
        """Scores a run and keeps the result."""
        found = self._score(run.run, split)
        write_atomically(
            scores_file(run.run.folder, split),
            lambda file: np.savez_compressed(file, checkpoint=np.array(run.digest), **asdict(found)),
        )

    def _store(self, config: DictConfig, device: torch.device) -> tuple[EventStore, DeviceStore]:
        key = json.dumps([str(config.data), str(device), config.device.memory_fraction])
        if key not in self._stores:
            store = prepare_config(config.data)
            gathered = DeviceStore(store, device, config.device.memory_fraction, config.data.history_order)
            self._stores = {key: (store, gathered)}  # one at a time: a store may fill the device
        return self._stores[key]


def score_runs(folders: Sequence[Path], split: str, log_folder: Path) -> int:
    """Keeps the scores of a split for every run; how many were computed now. A read of the test split is logged."""
    missing = [folder for folder in folders if read_scores(folder, split) is None]
    if not missing:
        return 0
    if split == "test":
        log_read(missing, log_folder)
    scorer = Scorer()
    with shown() as progress, ThreadPoolExecutor(1, thread_name_prefix="reading") as ahead:
        reading = ahead.submit(DigestedRun.read, missing[0])
        for number, later in enumerate([*missing[1:], None], start=1):
            progress(f"scoring run {number} of {len(missing)}", (number - 1) / len(missing))
            run = reading.result()
            if later is not None:  # a large checkpoint takes as long to read and to verify as its rows to score
                reading = ahead.submit(DigestedRun.read, later)
            scorer.keep(run, split)
    log.info("the %s split was scored for %d runs", split, len(missing))
    return len(missing)
