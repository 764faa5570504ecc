"""Runs one job inside Hydra. ``python -m mdaf.sweeper`` calls it for every job that runs by itself."""

from __future__ import annotations

from omegaconf import DictConfig

from mdaf.sweeper.job.group import train_jobs
from mdaf.sweeper.job.job import Job


def run(cfg: DictConfig) -> float | tuple[float, ...]:
    """Runs one job inside Hydra and returns its objective: by default the best epoch's ``training.monitor``.

    Raises UserError before any work if the config cannot be run, and ``optuna.TrialPruned`` if the pruner stopped it.
    """
    with Job(cfg) as job:
        train_jobs([job])
        return job.finish()
