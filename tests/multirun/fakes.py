"""A study and runs whose figures are made up: everything about a run is there but for the training."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import FloatDistribution

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.event_store import EventStore
from mdaf.multirun.phase4.points import composed
from mdaf.sweeper.hydra_ext.configs.sources import ORIGIN
from mdaf.sweeper.hydra_ext.run_config import config_hash
from mdaf.sweeper.runs.metric_columns import COLUMNS, MONITOR, best_epoch, ranking_in
from mdaf.sweeper.runs.reader import checkpoint_digest
from mdaf.sweeper.training.building.model_factory import decide_fields
from mdaf.sweeper.trials.points.same_point import point_id
from mdaf.sweeper.trials.user_attrs import POINT, POINT_ID, SEED
from tests.sweeper.tiny import TINY, below, empty_database

STUDY = "made-up"
SPACE = {
    "regularization.dropout": FloatDistribution(0.15, 0.35),
    "regularization.weight_decay": FloatDistribution(1e-5, 1e-4, log=True),
    "regularization.label_smoothing": FloatDistribution(0.0, 0.10),
}
WIDE = SPACE | {
    "regularization.embedding_l2": FloatDistribution(1e-7, 1e-2, log=True),
    "training.learning_rate": FloatDistribution(3e-4, 5e-3, log=True),
}
POINTS = ((0.20, 1e-5, 0.0), (0.25, 3e-5, 0.05), (0.30, 5e-5, 0.10), (0.22, 2e-5, 0.02))
VALUES = (0.70, 0.71, 0.69, 0.74)
GATES = {"gate_mean": 0.3, "gate_std": 0.1, "gate_median": 0.3, "gate_min": 0.1, "gate_max": 0.6}
_STORES: dict[str, EventStore] = {}


def store_of(config: DictConfig) -> EventStore:
    """A config's data, prepared once."""
    node = str(config.data)
    if node not in _STORES:
        _STORES[node] = prepare_config(config.data)
    return _STORES[node]


def history(val_auc: float, epochs: int = 2, seconds: Sequence[float] = (1.0, 1.0)) -> list[dict[str, Any]]:
    """Epochs that end at their best."""
    rows = []
    for epoch in range(1, epochs + 1):
        row: dict[str, Any] = dict.fromkeys(COLUMNS, 0.5) | GATES
        value = val_auc - 0.01 * (epochs - epoch)
        row |= {"epoch": epoch, "val_auc": value, "train_auc": value + 0.05, "train_val_gap": 0.05}
        rows.append(row | {"epoch_seconds": seconds[epoch - 1]})
    return rows


def write_run(
    folder: Path,
    config: DictConfig,
    rows: Sequence[dict[str, Any]],
    trial: int | None = None,
    separation: float = 1.0,
) -> Path:
    """A finished run's folder: config, metrics, result, a checkpoint that is empty, and scores of a few rows.

    ``separation``  of the scores of both classes: at the default, runs of one seed score all rows alike.
    """
    decide_fields(config, store_of(config))  # as a job would
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / ".hydra/config.yaml")
    (folder / ".hydra/overrides.yaml").write_text("[]")
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *ranking_in(rows)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (folder / "best.pt").write_bytes(b"weights")
    rng = np.random.default_rng(config.seed)
    labels = np.arange(60) % 3 == 0
    for split in ("validation", "test"):
        logits = separation * labels + rng.normal(0, 1, 60)
        held = {"logits": logits, "labels": labels, "users": np.arange(60) // 4}
        np.savez(folder / f"scores_{split}.npz", checkpoint=np.array(checkpoint_digest(folder)), **held)
    monitor = config.training.monitor
    best = best_epoch(rows, monitor)
    result = {
        **({} if monitor == MONITOR else {"monitor": monitor}),
        "state": "complete",
        "best_epoch": best["epoch"],
        "best": best,
        "config_hash": config_hash(config),
        "data_hash": store_of(config).data_hash,
        "commit": "c" * 40,
        "seed": config.seed,
        "device": "cpu",
        "study": STUDY if trial is not None else None,
        "trial": trial,
    }
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def _add_run(
    study: optuna.Study,
    folder: Path,
    params: dict[str, float],
    distributions: Mapping[str, FloatDistribution],
    seed: int,
    value: float,
    seconds: Sequence[float],
    **more: Any,
) -> None:
    """A run of a point on a seed, and its trial with further attributes."""
    config = composed([*TINY, *(f"{key}={one}" for key, one in params.items()), f"seed={seed}"])
    trial = len(study.get_trials(deepcopy=False))
    run = write_run(folder / "search" / str(trial), config, history(value, seconds=seconds), trial=trial)
    attributes = {
        "run_dir": str(run),
        SEED: seed,
        "overrides": [f"seed={seed}", *TINY],
        "effective": params,
        "config_hash": config_hash(config),
        **more,
    }
    study.add_trial(
        optuna.trial.create_trial(params=params, distributions=dict(distributions), value=value, user_attrs=attributes)
    )


def make_study(
    folder: Path,
    seconds: Sequence[float] = (1.0, 1.0),
    seed: int = 7,
    overrides: Sequence[str] = (),
    typed_with: dict[str, Any] | None = None,
    others: Mapping[int, str] | None = None,
    space: Mapping[str, FloatDistribution] = SPACE,
    runs_again: Sequence[tuple[int, int, float]] = (),
    values: Sequence[float] = VALUES,
    named: Mapping[int, str] | None = None,
) -> str:
    """A study of four complete trials with their runs, the last the best; its storage's URL.

    ``space``: ``WIDE`` gives every point an embedding_l2 of .002 and a learning rate of .001 besides.
    ``others``: trials that say that their run had another config's hash.
    ``named``: trials that tried a known point, and its name.
    ``runs_again``: (trial, seed, value) of further runs of a point, as a race leaves them.
    """
    url = f"sqlite:///{folder}/studies.db"
    if not (folder / "studies.db").exists():
        (folder / "studies.db").write_bytes(empty_database())
    study = optuna.create_study(storage=url, study_name=STUDY, direction="maximize")
    if typed_with is not None:
        study.set_user_attr(ORIGIN, typed_with)
    points = [dict(zip(space, (*point, 2e-3, 1e-3), strict=False)) for point in POINTS]
    for number, value in enumerate(values):
        more: dict[str, Any] = {"epoch_seconds": 60.0, "overrides": [f"seed={seed}", *TINY, *overrides]}
        more |= {"config_hash": others[number]} if others and number in others else {}
        more |= {POINT: named[number]} if named and number in named else {}
        _add_run(study, folder, points[number], space, seed, value, seconds, **more)
    for number, other_seed, value in runs_again:
        known = {POINT_ID: point_id(points[number])}
        _add_run(study, folder, points[number], space, other_seed, value, seconds, **known)
    return url


@dataclass
class Trainer:
    """Stands in for ``phase4.launch``: writes the runs that are asked for, fails or is interrupted on demand."""

    value: Callable[[DictConfig], float]
    fails: Sequence[tuple[str, int]] = ()  # (name of the point's folder, seed)
    budget: int | None = None  # runs before it is interrupted
    separation: Callable[[DictConfig], float] = lambda config: 1.0  # of a run's scores
    trained: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, overrides: Sequence[str], home: Path, launcher: str | None = None) -> int:
        *common, last = overrides
        for seed in map(int, last.removeprefix("seed=").split(",")):
            if self.budget is not None and not self.budget:
                raise KeyboardInterrupt
            if (home.name, seed) in self.fails:
                continue
            config = composed(common)  # composed once for all seeds
            config.seed = seed
            write_run(home / f"seed-{seed}", config, history(self.value(config)), separation=self.separation(config))
            self.trained.append((home.name, seed))
            self.budget = None if self.budget is None else self.budget - 1
        return 0


def noisy(config: DictConfig) -> float:
    """A value that depends on dropout a little and on the seed."""
    rng = np.random.default_rng([config.seed, int(config.regularization.dropout * 1000)])
    return 0.7 + 0.1 * config.regularization.dropout + rng.normal(0, 0.004)


def settings(folder: Path, *overrides: str) -> DictConfig:
    """The config of ``python -m multirun`` for the study in ``folder``, small, with everything below it.

    Of the research's design, unless another is named.
    """
    small = ["confirm.top=2", "confirm.seeds=[1001,1002]", "resamples=50", "ask=false"]
    small += [] if any(override.startswith("design=") for override in overrides) else ["design=research"]
    where = {"storage": f"sqlite:///{folder}/studies.db", "folder": f"{folder}/phase4", "reuse": f"{folder}/runs"}
    return below(where, "phase4", *small, *overrides)
