"""Training steps that are set up to be measured, spread over an epoch by the lengths of their histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import hydra
import torch
from omegaconf import DictConfig
from torch import Tensor

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.epoch_order import epoch_order
from mdaf.sweeper.machine.device import set_up
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.stepping.step import Stepper, longest_histories


def composed(overrides: Sequence[str]) -> DictConfig:
    """The config with ``overrides``; ``conf.register`` must have run."""
    with hydra.initialize_config_module("mdaf.conf", job_name="benchmark"):
        return hydra.compose("config", overrides=list(overrides))


class Steps:
    """Steps of ``count`` replicas of a config, of its seed and those after it, on batches of one epoch.

    ``numbers``  the steps to measure: evenly spread over the epoch's, sorted by their longest histories.
    """

    def __init__(self, cfg: DictConfig, count: int = 1, measured: int = 0) -> None:
        self.device = set_up(cfg.device)
        store = prepare_config(cfg.data)
        batches = DeviceStore(store, self.device)
        first = hyperparameters(cfg)
        seeds = range(first.seed, first.seed + count)
        self.replicas = build_replicas(cfg, store, [replace(first, seed=seed) for seed in seeds], self.device)
        self.replicas.model.train()
        chosen = settings(cfg, self.device)
        self.size = chosen.training.batch_size
        lengths, rows = batches.lengths("train"), batches.rows("train")
        self._order = torch.stack(
            [epoch_order(rows, s, 1, lengths=lengths, batch_size=self.size, window=cfg.data.bucketing) for s in seeds]
        )
        self._longest = longest_histories(lengths, self._order, self.size)
        self.stepper = Stepper(self.replicas, batches, chosen.step)
        self.numbers = spread(self._longest, measured or (60 if self.device.type == "cuda" else 12))

    def rows(self, number: int) -> Tensor:
        """The rows of a step, (replica, batch)."""
        return self._order[:, number * self.size : (number + 1) * self.size]

    def run(self, numbers: Sequence[int]) -> None:
        """Takes these steps."""
        for number in numbers:
            self.stepper.step(self.rows(number), number, self._longest[number])

    def warm_up(self) -> None:
        """Compiles and captures: each length of batch is computed once, then captured."""
        self.stepper.rehearse(self.size)
        for _ in range(2):
            self.run(self.numbers if self.device.type == "cuda" else self.numbers[::4])


def spread(longest: Sequence[int], count: int) -> list[int]:
    """The numbers of ``count`` full batches of an epoch, evenly spread over the lengths of their longest histories."""
    by_length = sorted(range(len(longest) - 1), key=lambda number: longest[number])
    return [by_length[(2 * i + 1) * len(by_length) // (2 * count)] for i in range(count)]
