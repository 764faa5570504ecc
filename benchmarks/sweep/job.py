"""The job of ``benchmarks.sweep``: an objective that costs nothing, so that all time is the sweeper's.

With ``sweep`` in its config it does what the project's own job does for its trial: attaches to it, holds its lease,
compares its parameters with the config, writes its attributes, reports two epochs, and writes what it found.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from omegaconf import MISSING, DictConfig

from mdaf.sweeper.hydra_ext.run_config import config_hash
from mdaf.sweeper.runs import provenance
from mdaf.sweeper.search.plugin import RegularizationSweeper
from mdaf.sweeper.trials.attaching.link import TrialLink, sweeps_settings
from mdaf.sweeper.trials.outcome import MICRO_BATCH

EPOCHS = 2


@dataclass
class Job:
    """A point, and the file that gets the times at which jobs begin."""

    dropout: float = 0.25
    weight_decay: float = 3e-5
    label_smoothing: float = 0.05
    times: str = MISSING


@dataclass
class Place:
    """Where the job's study is."""

    storage: str = MISSING


@dataclass
class RecordingJob(Job):
    """A job that knows its trial."""

    sweep: Place = field(default_factory=Place)
    data: dict[str, str] = field(default_factory=dict)


def objective(dropout: float, weight_decay: float, label_smoothing: float) -> float:
    """A bowl without noise; microseconds."""
    return 0.6 - (dropout - 0.25) ** 2 - (weight_decay - 3e-5) ** 2 - (label_smoothing - 0.05) ** 2


def note_time(file: str) -> None:
    """Appends the time at which a job begins: by the clock, and of this process's own work."""
    with Path(file).open("a") as times:
        times.write(f"{time.perf_counter()!r} {time.process_time()!r}\n")


def job(cfg: DictConfig) -> float:
    """The task that Hydra runs."""
    note_time(cfg.times)
    value = objective(cfg.dropout, cfg.weight_decay, cfg.label_smoothing)
    if "sweep" in cfg:
        hydra_node = HydraConfig.get()
        study, number = hydra_node.sweeper.study_name, hydra_node.job.num
        with TrialLink(cfg.sweep.storage, study, number, **sweeps_settings()) as trial:
            _record(trial, cfg, value)
    return value


def _record(trial: TrialLink, cfg: DictConfig, value: float) -> None:
    """The calls of ``mdaf.sweeper.job.job`` and ``mdaf.sweeper.job.recorder`` to their trial, in their order."""
    effective = trial.check_parameters(cfg, HydraConfig.get().runtime.choices)
    trial.record(
        {
            "run_dir": HydraConfig.get().runtime.output_dir,
            "config_hash": config_hash(cfg),
            "data_hash": "0123456789ab",
            "commit": provenance.commit(),
            "seed": 42,
            "device": "cpu",
            "versions": json.dumps(provenance.versions(), sort_keys=True),
            "effective": effective,
            MICRO_BATCH: 2048,
        }
    )
    for epoch in range(1, EPOCHS + 1):
        trial.report(epoch, value)
    trial.record({"best_epoch": 2, "train_auc": value, "train_val_gap": 0.0, "gate_mean": 0.3, "epoch_seconds": 0.0})


def main() -> None:
    """``python -m benchmarks.sweep.job --config-name plain|recording -m ...``."""
    ConfigStore.instance().store("plain", Job)
    ConfigStore.instance().store("recording", RecordingJob)
    Plugins.instance().register(RegularizationSweeper)
    hydra.main(config_path=None, config_name="plain", execution_whitelist=("sweeper.*", "optuna.*", "hydra_plugins.*"))(
        job
    )()


if __name__ == "__main__":
    main()
