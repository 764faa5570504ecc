"""The identity of a run: hashes, seed, versions, device and more, recorded before training starts.

Reports and queries use it to find runs and to compare them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mdaf.data.store.event_store import EventStore
from mdaf.data.store.promises import promise_in_words
from mdaf.sweeper.hydra_ext.run_config import config_hash
from mdaf.sweeper.machine.device import choose_precision, describe
from mdaf.sweeper.runs import provenance
from mdaf.sweeper.runs.folder import RunFolder
from mdaf.sweeper.runs.metric_columns import MONITOR
from mdaf.sweeper.training.building.from_config import settings
from mdaf.sweeper.trials.user_attrs import MICRO_BATCH

if TYPE_CHECKING:
    from mdaf.sweeper.trials.attaching.link import TrialLink


def identify(cfg: DictConfig, store: EventStore, device: torch.device) -> dict[str, Any]:
    """The run's identity: enough to find the run again, and to decide whether two runs computed the same."""
    choices = HydraConfig.get().runtime.choices
    return {
        "config_hash": config_hash(cfg),
        "data_hash": store.data_hash,
        "commit": provenance.commit(),
        "seed": cfg.seed,
        "model": choices.get("model"),
        "data": choices.get("data"),
        "regularization": cfg.regularization.name,
        "dropout": cfg.regularization.dropout,
        "weight_decay": cfg.regularization.weight_decay,
        "label_smoothing": cfg.regularization.label_smoothing,
        "learning_rate": cfg.training.learning_rate,
        "batch_size": cfg.training.batch_size,
        **({} if cfg.training.monitor == MONITOR else {"monitor": cfg.training.monitor}),
        "experiment": cfg.experiment,
        "device": describe(device),
        "precision": choose_precision(cfg.device.precision, device),
        "study": cfg.sweep.study,
        "trial": cfg.sweep.trial,
        "store": shown(store.folder),
        "splits": promise_in_words(store),
        "versions": provenance.versions(),
    }


def record_start(
    trial: TrialLink,
    cfg: DictConfig,
    identity: dict[str, Any],
    folder: RunFolder,
    device: torch.device,
    decided_fields: bool,
) -> None:
    """Checks that the config has the trial's parameters and the study's data, then writes the trial's attributes.

    Raises UserError if it has other parameters or other data.

    ``decided_fields``  whether the job has decided itself which fields its model leaves out.
    """
    # They import Optuna, which only a job of a study needs.
    from mdaf.sweeper.trials.compatibility import agree_on_data, agree_on_fields

    choices = HydraConfig.get().runtime.choices
    effective = trial.check_parameters(cfg, choices)
    if not any(name == "data" or name.startswith("data.") for name in effective):
        agree_on_data(trial.study, identity["data_hash"], force=cfg.sweep.force)
        if decided_fields:
            agree_on_fields(trial.study, cfg.model.without, force=cfg.sweep.force)
    trial.record(
        {
            "run_dir": shown(folder.path),
            **{name: identity[name] for name in ("config_hash", "data_hash", "commit", "seed", "device")},
            "versions": json.dumps(identity["versions"], sort_keys=True),
            "effective": effective,
            MICRO_BATCH: settings(cfg, device).step.micro_batch or cfg.training.batch_size,
        }
    )


def shown(path: str | Path) -> str:
    """A path for messages: relative if it is below the current directory."""
    absolute = Path(path).absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)
