"""A finished run's scores of a split's rows, from its best checkpoint; kept beside it, since they are computed once.

The test split is scored here and nowhere else. Each time is written to a log that only grows, so that a report can say
how often the test split was read.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from data.batches import DeviceStore
from data.prepare import prepare_config
from data.store import EventStore
from model.ctr import Estimator
from model.stack import load_replica
from multirun.runs import read_config
from sweeper import models
from sweeper.atomic import write_atomically
from sweeper.device import choose_precision, set_up
from sweeper.errors import UserError
from sweeper.estimator import FittedReplica
from sweeper.objective import build_replicas, hyperparameters
from sweeper.provenance import commit
from sweeper.replicas import Replicas
from sweeper.training import predict

log = logging.getLogger(__name__)

TEST_READS = "test_reads.jsonl"


@dataclass(frozen=True)
class Scores:
    """``logits`` of a split's rows, with their ``users`` (dense index) and ``labels``; (row,) each."""

    logits: np.ndarray
    labels: np.ndarray
    users: np.ndarray


def scores_file(folder: Path, split: str) -> Path:
    """Where a run's scores of a split lie."""
    return folder / f"scores_{split}.npz"


def read_scores(folder: Path, split: str) -> Scores | None:
    """The scores that were kept, None if there are none; UserError if they are damaged."""
    file = scores_file(folder, split)
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as held:
            return Scores(held["logits"], held["labels"], held["users"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{file}: damaged ({error}); delete it to have it computed again") from None


class Scorer:
    """Scores runs; stores that were opened stay open for the next run on the same data."""

    def __init__(self) -> None:
        self._stores: dict[str, tuple[EventStore, DeviceStore]] = {}

    def score(self, folder: Path, split: str) -> Scores:
        """Rebuilds the run's model from its config and its best.pt and scores every row of ``split``."""
        config = read_config(folder)
        file = folder / "best.pt"
        if not file.is_file():
            raise UserError(f"{file}: not there, so the run's rows cannot be scored again")
        trained = models.by_gradient(config.model)
        device = set_up(config.device) if trained else torch.device("cpu")
        store, gathered = self._store(config, device)
        checkpoint = torch.load(file, weights_only=True, map_location=device)
        if checkpoint["data_hash"] != store.data_hash:
            raise UserError(
                f"{file}: was trained on data {checkpoint['data_hash'][:12]}, its source now gives "
                f"{store.data_hash[:12]}; restore the data that the run was trained on"
            )
        replicas = _model(config, store, device, trained)
        load_replica(replicas.model, 0, checkpoint["weights"])
        precision = choose_precision(config.device.precision, device)
        rows = gathered.rows(split)[None]
        found = predict(replicas, gathered, split, rows, config.training.eval_batch_size, precision)
        return Scores(
            found.logits[0].float().cpu().numpy(),
            gathered.labels(split).cpu().numpy().astype(np.int8),
            gathered.users(split).cpu().numpy(),
        )

    def keep(self, folder: Path, split: str) -> bool:
        """Scores a run and keeps the result, unless it is there already; whether anything was computed."""
        if read_scores(folder, split) is not None:
            return False
        found = self.score(folder, split)
        write_atomically(
            scores_file(folder, split),
            lambda file: np.savez_compressed(file, logits=found.logits, labels=found.labels, users=found.users),
        )
        return True

    def _store(self, config: DictConfig, device: torch.device) -> tuple[EventStore, DeviceStore]:
        key = json.dumps([str(config.data), str(device), config.device.memory_fraction])
        if key not in self._stores:
            store = prepare_config(config.data)
            gathered = DeviceStore(store, device, config.device.memory_fraction, config.data.history_order)
            self._stores = {key: (store, gathered)}  # one at a time: a store may fill the device
        return self._stores[key]


def _model(config: DictConfig, store: EventStore, device: torch.device, trained: bool) -> Replicas:
    if trained:
        return build_replicas(config, store, [hyperparameters(config)], device, drawn=False)
    estimator = models.builder(config.model, store.schema)()
    assert isinstance(estimator, Estimator)
    return FittedReplica(estimator, hyperparameters(config))


def score_runs(folders: Sequence[Path], split: str, log_folder: Path) -> int:
    """Keeps the scores of a split for every run; how many were computed now. A read of the test split is logged."""
    missing = [folder for folder in folders if read_scores(folder, split) is None]
    if not missing:
        return 0
    if split == "test":
        log_read(missing, log_folder)
    scorer = Scorer()
    for folder in missing:
        scorer.keep(folder, split)
    log.info("the %s split was scored for %d runs", split, len(missing))
    return len(missing)


def log_read(folders: Sequence[Path], log_folder: Path, purpose: str = "report") -> None:
    """Adds a line before the test split is read, so that even a read that was interrupted is in the log."""
    record = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "purpose": purpose,
        "commit": commit(),
        "runs": [str(folder) for folder in folders],
        "checkpoints": [hashlib.sha256((folder / "best.pt").read_bytes()).hexdigest()[:12] for folder in folders],
    }
    log_folder.mkdir(parents=True, exist_ok=True)
    with (log_folder / TEST_READS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def reads_of_test(log_folder: Path) -> list[dict[str, object]]:
    """The log of reads of the test split, oldest first."""
    file = log_folder / TEST_READS
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
