"""How near a model comes to the best possible: ``python -m benchmarks.oracle``. Prints Markdown for docs/benchmarks.md.

The click log is made up, so its true probabilities are known, and no model can pass their AUC, the oracle's. One model
learns from more and more of its training rows, twice: from histories as they happened, and from the same events in a
fixed random order. Events carry no times in either case (``model.without=[gap]``), so that the second can only count.
Validation rows are the same throughout. Two rules are scored on them as well: one counts the candidate's category in
the history, the other says how recently it occurred.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import hydra
import torch
from omegaconf import DictConfig
from torch import Tensor

from mdaf import conf
from mdaf.data.inspecting.baselines import COUNT, RECENCY, oracle_auc, rule_aucs
from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.schema import Batch
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import EventStore
from mdaf.streams import stream_seed
from mdaf.sweeper.machine.device import describe, set_up
from mdaf.sweeper.runs.checkpoint import PartialEpoch, Position
from mdaf.sweeper.runs.metric_columns import EpochMetrics
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.loop import train
from mdaf.sweeper.training.replicas import Replicas, Trained

ORDERS = ("time", "shuffled")
WORLD = (
    "data=synthetic", "data.length=10", "data.users=8000", "data.views=320000", "data.train_rows=640000",
    "data.validation_rows=10000", "data.test_rows=1000",
)  # fmt: skip
SMALL = (  # trained on two cores in minutes
    "model=mdaf_mamba", "model.static.embedding=8", "model.static.deep_layers=1", "model.static.shallow_layers=1",
    "model.sequence.embedding={item: 16, category: 16, other: 8}", "model.sequence.hidden=32",
    "model.sequence.layers=1", "model.sequence.expand=1", "model.sequence.state=4", "model.head=[32]",
    "model.without=[gap]", "training.batch_size=256", "training.learning_rate=2e-3", "training.train_sample=1000",
    "training.patience=3", "device.micro_batch=512",
)  # fmt: skip


class Fewer(DeviceStore):
    """A store on its device with only some of its training rows, which a random stream of their own chooses."""

    def __init__(self, store: EventStore, device: torch.device, count: int, history_order: str) -> None:
        super().__init__(store, device, history_order=history_order)
        every = super().rows("train")
        generator = torch.Generator().manual_seed(stream_seed(0, "fewer rows"))
        self._chosen = every[torch.randperm(len(every), generator=generator)[:count].to(device)]

    def rows(self, split: str) -> Tensor:
        """Numbers of the rows that are there, (samples,) int64."""
        return torch.arange(len(self._chosen), device=self.device) if split == "train" else super().rows(split)

    def labels(self, split: str) -> Tensor:
        """Their labels, (samples,) float32."""
        return super().labels(split)[self._chosen] if split == "train" else super().labels(split)

    def lengths(self, split: str) -> Tensor:
        """Events of their histories, (samples,) int32."""
        return super().lengths(split)[self._chosen] if split == "train" else super().lengths(split)

    def gather(self, split: str, rows: Tensor, longest: int | None = None) -> Batch:
        """The samples of these numbers."""
        return super().gather(split, self._chosen[rows] if split == "train" else rows, longest)


@dataclass
class Best:
    """Follows a replica and keeps its best epoch's validation AUC."""

    aucs: list[float] = field(default_factory=list)

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """Nothing is kept of a step."""

    def epoch(self, row: EpochMetrics, replicas: Trained, k: int, *, saves: bool) -> bool:
        """Keeps the AUC; never stops by itself."""
        self.aucs.append(row["val_auc"])
        return False

    def save(self, position: Position, partial_epoch: PartialEpoch | None, replicas: Replicas, k: int) -> None:
        """Nothing is kept: a run begins anew."""

    def wait(self) -> None:
        """Nothing is being saved."""

    def failed(self, error: Exception) -> None:
        """Nothing here may fail."""
        raise error


def main() -> None:
    """Prints a row for each number of training rows."""
    options = _parser().parse_args()
    conf.register()
    with hydra.initialize_config_module("mdaf.conf", job_name="benchmark"):
        cfg = hydra.compose("config", [*WORLD, *SMALL, *options.overrides])
    device = set_up(cfg.device)
    store = prepare_config(cfg.data)
    print(f"{describe(device)}; {os.cpu_count()} cores; torch {torch.__version__}; {len(options.seeds)} seeds\n")
    rules = {rule: by_split["validation"] for rule, by_split in rule_aucs(store, ("validation",)).items()}
    print(f"oracle {oracle_auc(store, 'validation'):.4f}, {RECENCY} {rules[RECENCY]:.4f}, {COUNT} {rules[COUNT]:.4f}\n")
    print("| training rows | in order | shuffled | difference |\n|---:|---:|---:|---:|", flush=True)
    for rows in map(int, options.rows):
        epochs = max(2, math.floor(options.samples / rows))
        ordered, shuffled = (
            _learned(cfg, store, Fewer(store, device, rows, order), options.seeds, epochs) for order in ORDERS
        )
        gains = [one - other for one, other in zip(ordered, shuffled, strict=True)]
        print(f"| {rows:,} | {_spread(ordered)} | {_spread(shuffled)} | {_spread(gains)} |", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.oracle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="of the config, say device=cuda model=bst")
    parser.add_argument("--rows", type=float, nargs="+", default=[2e4, 6e4, 2e5, 6e5], help="of training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of weights, dropout and order")
    parser.add_argument("--samples", type=float, default=6e5, help="trained on, over all epochs; two epochs at least")
    return parser


def _learned(
    cfg: DictConfig, store: EventStore, gathered: DeviceStore, seeds: Sequence[int], epochs: int
) -> list[float]:
    """The best epoch's validation AUC for each seed; the seeds train in lock-step."""
    device = gathered.device
    replicas = build_replicas(cfg, store, [replace(hyperparameters(cfg), seed=seed) for seed in seeds], device)
    callbacks = [Best() for _ in seeds]
    chosen = settings(cfg, device)
    train(replicas, gathered, replace(chosen, training=replace(chosen.training, epochs=epochs)), callbacks)
    return [max(callback.aucs) for callback in callbacks]


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


if __name__ == "__main__":
    main()
