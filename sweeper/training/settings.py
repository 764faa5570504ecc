"""Settings of the training loop."""

from __future__ import annotations

from dataclasses import dataclass

from mdaf.conf.schema import Training
from mdaf.sweeper.training.stepping.step import StepSettings


@dataclass(frozen=True)
class LoopSettings:
    """What all replicas of a loop share.

    ``training``   the config group. A replica has a learning rate of its own, and ``step`` its own form of the rest.
    ``step``       how a step of ``training.batch_size`` samples is computed.
    ``bucketing``  batches within which samples are sorted by history length; 0: none.
    """

    training: Training
    step: StepSettings
    bucketing: int
