"""Checks the keys of the group ``training`` that name something: the metric that decides, and the loss."""

from __future__ import annotations

import re

from omegaconf import DictConfig

from mdaf.errors import UserError, did_you_mean
from mdaf.naming.allowed import allowed, is_named, refusal
from mdaf.sweeper.runs.metric_columns import MONITORS, RANKING, is_monitor

LOSSES = ("bce", "focal")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def check_training_keys(training: DictConfig) -> None:
    """UserError for a monitor that is no validation metric, and for a loss that is none or may not be named."""
    monitor, loss = str(training.monitor), str(training.loss)
    if not is_monitor(monitor):
        known = (*MONITORS, *RANKING)
        raise UserError(
            f"training.monitor: found {monitor}{did_you_mean(monitor, known)}; expected a validation metric: "
            f"{', '.join(known)}"
        )
    if loss in LOSSES:
        return
    if not _DOTTED.fullmatch(loss):
        raise UserError(
            f"training.loss: found {loss}{did_you_mean(loss, LOSSES)}; expected {', '.join(LOSSES)}, or a function of "
            "your own with its module, such as mine.loss"
        )
    if not is_named(loss, allowed()):
        raise UserError(f"training.loss: {refusal(loss)}")
