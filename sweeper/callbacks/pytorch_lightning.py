"""The callback for programs that import ``pytorch_lightning``."""

from pytorch_lightning import Callback

from mdaf.sweeper.callbacks.lightning_hooks import ReportEachEpoch


class TrialCallback(ReportEachEpoch, Callback):
    """``Trainer(callbacks=[TrialCallback("val/loss")])``: reports each epoch to the job's trial, and prunes."""
