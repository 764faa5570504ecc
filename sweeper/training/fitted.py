"""The loop of a model that is fitted without gradients: same rows, same evaluation, same artifacts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import nn

from mdaf.data.schema import Batch
from mdaf.data.store.device_store import DeviceStore
from mdaf.errors import StoppedError
from mdaf.model.ctr import Estimator
from mdaf.streams import stream_seed
from mdaf.sweeper.training.early_stopping import EarlyStopping
from mdaf.sweeper.training.evaluating import metrics
from mdaf.sweeper.training.evaluating.evaluation import evaluate
from mdaf.sweeper.training.loop import Callback, diverged, row_of
from mdaf.sweeper.training.replicas import Hyperparameters
from mdaf.sweeper.training.settings import LoopSettings

log = logging.getLogger(__name__)


class FittedReplica:
    """One fitted model as ``Trained``: a replica without optimizers."""

    def __init__(self, model: Estimator, hyperparameters: Hyperparameters) -> None:
        self.model: nn.Module = model
        self.hyperparameters = [hyperparameters]
        self.device = torch.device("cpu")

    def __len__(self) -> int:
        return 1

    def optimizer_state(self, k: int) -> list[dict[str, Any]]:
        """Empty: a fitted model has no optimizers."""
        return []


def fit(model: Estimator, store: DeviceStore, settings: LoopSettings, h: Hyperparameters, callback: Callback) -> None:
    """Fits the model in ``settings.training.epochs`` equal parts and evaluates after each part, as after an epoch.

    Only the seed of ``h`` has an effect: it selects the rows if there are more than the model takes.
    """
    log.info(
        "regularization.* and training.* have no effect on this model, but for training.epochs, monitor, patience, "
        "ranking_at and train_sample; its own keys, model.*, regularize it"
    )
    replica = FittedReplica(model, h)
    began = time.perf_counter()
    for batch in _batches(store, store.rows("train"), settings.training.eval_batch_size):
        model.count(batch)
    rows = _fitted_rows(store, model.rows, h.seed)
    x = torch.cat([model.training_features(b)[0] for b in _batches(store, rows, settings.training.eval_batch_size)])
    labels = store.labels("train")[rows]
    log.info("%d features of %s rows in %.1f s", x.shape[1], f"{len(x):,}", time.perf_counter() - began)
    training = settings.training
    stopping, epochs = EarlyStopping(training.patience, monitor=training.monitor), training.epochs
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        with threadpool_limits(torch.get_num_threads(), "openmp"):
            logits = model.fit(x, labels, epoch / epochs, seed=stream_seed(h.seed, "boosted") % 2**32)
        [evaluated] = evaluate(replica, store, settings)
        try:
            loss = metrics.log_loss(logits, labels)
        except metrics.NotFiniteError as error:
            raise diverged(str(error), epoch) from None
        known = {
            "epoch": epoch,
            "train_loss": loss,
            "epoch_seconds": time.perf_counter() - began,
            "learning_rate": model.learning_rate,
        }
        row = row_of(evaluated, known, logits, labels, training.monitor)
        if isinstance(row, StoppedError):
            raise row
        stopping.add(row)
        ends = epoch == epochs or stopping.stops  # before that nothing could go on from a state
        if callback.epoch(row, replica, 0, saves=ends) or ends:
            return


def _fitted_rows(store: DeviceStore, most: int, seed: int) -> torch.Tensor:
    """All training rows, or ``most`` of them drawn at random."""
    rows = store.rows("train")
    if len(rows) <= most:
        return rows
    generator = torch.Generator().manual_seed(stream_seed(seed, "rows"))
    return rows[torch.randperm(len(rows), generator=generator)[:most]]


def _batches(store: DeviceStore, rows: torch.Tensor, size: int) -> Iterator[Batch]:
    """The training samples ``rows`` (samples,), ``size`` at a time, with a replica axis of one."""
    for part in rows.split(size):
        yield store.gather("train", part[None])
