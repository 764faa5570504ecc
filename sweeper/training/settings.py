"""Settings of the training loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mdaf.sweeper.training.step import StepSettings


@dataclass(frozen=True)
class Settings:
    """What all replicas of a loop share; the keys of the ``training`` group.

    ``step``                how a step of ``batch_size`` samples is computed.
    ``eval_batch_size``     samples of a replica per forward pass in evaluation, at most.
    ``bucketing``           batches within which samples are sorted by history length; 0: none.
    ``checkpoint_seconds``  between two saves within an epoch; None: at its end only.
    ``steps_per_epoch``     at most; None: every training row is seen.
    """

    epochs: int
    batch_size: int
    eval_batch_size: int
    schedule: Literal["constant", "cosine"]
    warmup_fraction: float
    patience: int | None
    train_sample: int
    step: StepSettings
    bucketing: int = 0
    checkpoint_seconds: float | None = None
    steps_per_epoch: int | None = None
