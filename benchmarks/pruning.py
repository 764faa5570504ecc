"""What pruning saves and what it costs: ``python -m benchmarks.pruning OVERRIDES``. Markdown for docs/benchmarks.md.

A sweep is this project's: its sampler, its pruner and its known points as the config has them, on a real data set. A
training run is a function of its seed and its point, so its curve is kept in a file and trained once: sweeps with
different pruners share what they have in common, and a benchmark that was stopped goes on with the same command. What
a sweep pays for is counted as if it had trained everything itself. Sweeps of one seed are compared in pairs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import optuna
import torch
from omegaconf import DictConfig, open_dict
from optuna.distributions import BaseDistribution
from optuna.trial import Trial, TrialState
from torch import Tensor

from mdaf import conf
from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.device_store import DeviceStore
from mdaf.sweeper.hydra_ext.instantiation import created
from mdaf.sweeper.machine.device import set_up
from mdaf.sweeper.runs.checkpoint import PartialEpoch, Position
from mdaf.sweeper.runs.metric_columns import EpochMetrics
from mdaf.sweeper.search.reseeding import reseed
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.loop import train
from mdaf.sweeper.training.replicas import Replicas, Trained
from mdaf.sweeper.trials.points.space import wanted

PRUNER_NAMES = ("none", "median", "hyperband", "wilcoxon")


@dataclass(frozen=True)
class Swept:
    """What a sweep paid and found: epochs trained, trials pruned, the best value, values of the known points."""

    epochs: int
    pruned: int
    best: float
    known: tuple[float, ...]


class Curves:
    """Validation AUC by epoch of every run so far, in a file of JSON lines; the longest of a run counts."""

    def __init__(self, cfg: DictConfig, file: Path) -> None:
        self.cfg, self.file = cfg, file
        self.device = set_up(cfg.device)
        self.event_store = prepare_config(cfg.data)
        self.store = DeviceStore(self.event_store, self.device)
        self.known: dict[str, list[float]] = {}
        for line in file.read_text().splitlines() if file.exists() else ():
            self._keep(**json.loads(line))

    def follow(self, seed: int, point: dict[str, Any], trial: Trial) -> list[float]:
        """The run's curve up to the epoch at which the pruner of ``trial`` stopped it."""
        run = json.dumps([seed, point])
        told: list[float] = []

        def stops(value: float) -> bool:
            told.append(value)
            trial.report(value, len(told))
            return len(told) < self.cfg.training.epochs and trial.should_prune()

        for value in self.known.get(run, ()):
            if stops(value):
                return told
        if len(told) < self.cfg.training.epochs:
            train_one(self, seed, point, _Teller(len(told), stops))
            with self.file.open("a") as file:
                file.write(json.dumps({"run": run, "curve": told}) + "\n")
            self._keep(run, told)
        return told

    def _keep(self, run: str, curve: list[float]) -> None:
        if len(curve) > len(self.known.get(run, ())):
            self.known[run] = list(curve)


class _Teller:
    """Passes on the epochs of a run that nobody has heard of yet."""

    def __init__(self, heard: int, stops: Any) -> None:
        self.heard, self.stops = heard, stops

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """Of no interest."""

    def epoch(self, row: EpochMetrics, replicas: Trained, k: int, *, saves: bool) -> bool:
        return row["epoch"] > self.heard and bool(self.stops(row["val_auc"]))

    def save(self, position: Position, partial_epoch: PartialEpoch | None, replicas: Replicas, k: int) -> None:
        """Nothing is kept: a run begins anew."""

    def wait(self) -> None:
        """Nothing is being saved."""

    def failed(self, error: Exception) -> None:
        raise error


def train_one(curves: Curves, seed: int, point: dict[str, Any], callback: _Teller) -> None:
    """One run at a point, from the beginning, as ``python -m sweeper`` trains it."""
    cfg = curves.cfg.copy()
    cfg.seed = seed
    for key, value in point.items():
        group, name = key.split(".")
        cfg[group][name] = value
    replicas = build_replicas(cfg, curves.event_store, [hyperparameters(cfg)], curves.device)
    train(replicas, curves.store, settings(cfg, curves.device), [callback])


def sweep(curves: Curves, sweeper: DictConfig, seed: int, n_trials: int) -> Swept:
    """The sweep of one seed, which is both the sampler's and the training's."""
    space: dict[str, BaseDistribution] = wanted(sweeper.params, []).space
    study = optuna.create_study(
        direction=sweeper.direction,
        sampler=created("sampler", sweeper.sampler),
        pruner=created("pruner", sweeper.pruner),
    )
    for point in sweeper.enqueue.values():
        study.enqueue_trial(dict(point))
    epochs = 0
    for number in range(n_trials):
        reseed(study.sampler, seed, number)
        trial = study.ask(space)
        curve = curves.follow(seed, trial.params, trial)
        epochs += len(curve)
        if len(curve) < curves.cfg.training.epochs:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, max(curve))
    known = tuple(trial.values[0] for trial in study.trials[: len(sweeper.enqueue)] if trial.values)
    pruned = len(study.get_trials(states=[TrialState.PRUNED]))
    return Swept(epochs, pruned, study.best_value, known)


def main() -> None:
    """Sweeps with each pruner and each seed, and prints a table after each pruner."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the config: data=user_behavior data.path=... model=din ...")
    parser.add_argument("--pruners", nargs="+", default=list(PRUNER_NAMES), metavar="NAME[,KEY=VALUE...]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--trials", type=int, default=20, help="of a sweep")
    parser.add_argument("--curves", type=Path, default=Path("runs/pruning.jsonl"), help="where curves are kept")
    options = parser.parse_intermixed_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)  # as in a sweep of several workers; these runs are small
    conf.register()
    configs = {name: composed(name, options.overrides) for name in options.pruners}
    options.curves.parent.mkdir(parents=True, exist_ok=True)
    curves = Curves(next(iter(configs.values())), options.curves)
    found: dict[str, list[Swept]] = {}
    for name, cfg in configs.items():
        found[name] = [sweep(curves, cfg.hydra.sweeper, seed, options.trials) for seed in options.seeds]
        print(table(found), flush=True)


def composed(pruner: str, overrides: Sequence[str]) -> DictConfig:
    """The config of a sweep with this pruner, ``name`` or ``name,key=value``; the study's own keys are of no use."""
    name, *arguments = pruner.split(",")
    chosen = ["hydra/sweeper=regularization", f"hydra/sweeper/pruner={name}"]
    chosen += [f"hydra.sweeper.pruner.{argument}" for argument in arguments]
    with hydra.initialize_config_module("mdaf.conf", job_name="benchmark"):
        cfg = hydra.compose("config", overrides=[*chosen, *overrides], return_hydra_config=True)
    with open_dict(cfg):
        del cfg.hydra.sweeper.study_name, cfg.hydra.sweeper.storage
    return cfg


def table(found: dict[str, list[Swept]]) -> str:
    """Markdown: the first pruner is what the others are compared with, sweep by sweep."""
    reference = next(iter(found.values()))
    noise = np.mean([np.std(values, ddof=1) for values in zip(*(one.known for one in reference), strict=True)])
    lines = [f"One point over {len(reference)} seeds has a standard deviation of {noise:.4f}.\n"]
    lines.append("| pruner | epochs a sweep | share | trials pruned | best value | less the first's, in pairs |")
    lines.append("|---|---:|---:|---:|---:|---:|")
    for name, sweeps in found.items():
        epochs, pruned, best = (
            np.array([getattr(one, kind) for one in sweeps]) for kind in ("epochs", "pruned", "best")
        )
        less = best - [one.best for one in reference]
        share = epochs.sum() / sum(one.epochs for one in reference)
        error = less.std(ddof=1) / np.sqrt(len(less)) if len(less) > 1 else 0.0
        lines.append(
            f"| {name} | {epochs.mean():.0f} | {share:.0%} | {pruned.mean():.1f} | {best.mean():.4f} | "
            f"{less.mean():+.4f} ± {error:.4f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
