"""A finished run as a model that scores: its config, verified, and the weights of its best epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from mdaf.data.store.event_store import EventStore
from mdaf.errors import UserError
from mdaf.model.ctr import Estimator
from mdaf.model.stack import load_replica
from mdaf.sweeper.hydra_ext.run_config import config_hash, is_hash_of
from mdaf.sweeper.machine.device import choose_precision, set_up
from mdaf.sweeper.runs.checkpoint import Saved, read_best
from mdaf.sweeper.runs.reader import BEST, CONFIG, RecordedRun, read_finished_run
from mdaf.sweeper.training.building import model_factory
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters
from mdaf.sweeper.training.fitted import FittedReplica
from mdaf.sweeper.training.replicas import Trained


def config_of(run: RecordedRun) -> DictConfig:
    """The config that Hydra saved with a finished run; UserError if it is not the one of its result."""
    if not is_hash_of(run.config, run.result["config_hash"]):
        raise UserError(
            f"{run.folder / CONFIG}: its hash is {config_hash(run.config)}, but result.json says "
            f"{run.result['config_hash']}: it is damaged or of another run; train the run again, or leave it out"
        )
    return run.config


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    ``config``       the config that it was trained with.
    ``saved``        the checkpoint of its best epoch.
    ``by_gradient``  whether its model was trained by gradients; else it is an ``Estimator``, which computes on the CPU.
    """

    folder: Path
    config: DictConfig
    saved: Saved
    by_gradient: bool

    @classmethod
    def read(cls, folder: Path) -> TrainedRun:
        """Reads a run. UserError if it has not ended, or if one of its files is damaged or of another run."""
        run = read_finished_run(folder)
        config = config_of(run)
        saved = read_best(folder, run.result)
        return cls(folder, config, saved, model_factory.by_gradient(config.model))

    def set_up_device(self) -> torch.device:
        """The device on which the model computes, by ``device`` of the config; the process is prepared for it."""
        return set_up(self.config.device) if self.by_gradient else torch.device("cpu")

    def precision(self, device: torch.device) -> str:
        """The precision of the config. UserError if the device does not support it."""
        return choose_precision(self.config.device.precision, device)

    def refuse_other_data(self, store: EventStore) -> None:
        """UserError unless the run was trained on this store."""
        if self.saved.data_hash != store.data_hash:
            raise UserError(
                f"{self.folder / BEST}: was trained on data {self.saved.data_hash[:12]}, its source now gives "
                f"{store.data_hash[:12]}; restore the data that the run was trained on"
            )

    def model(self, store: EventStore, device: torch.device) -> Trained:
        """The trained model, as a single replica. UserError if the weights do not fit it."""
        if self.by_gradient:
            replicas: Trained = build_replicas(self.config, store, [hyperparameters(self.config)], device, drawn=False)
        else:
            estimator = model_factory.builder(self.config.model, store.schema)()
            assert isinstance(estimator, Estimator)
            replicas = FittedReplica(estimator, hyperparameters(self.config))
        try:
            load_replica(replicas.model, 0, self.saved.weights)
        except (KeyError, RuntimeError, ValueError) as error:
            raise UserError(f"{self.folder / BEST}: does not fit the model of the run's config: {error}") from None
        return replicas
