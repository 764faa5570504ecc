"""The columns of metrics.csv: what is known of a run's epochs, by name."""

from __future__ import annotations

COLUMNS = (
    "epoch",
    "train_loss",
    "train_auc",
    "val_loss",
    "val_auc",
    "val_gauc",
    "train_val_gap",
    "gate_mean",
    "gate_std",
    "gate_median",
    "gate_min",
    "gate_max",
    "epoch_seconds",
    "batch_ms_p50",
    "batch_ms_p99",
    "learning_rate",
    "running_train_auc",
)

METRICS = COLUMNS[1:]  # what an objective or a constraint may be
