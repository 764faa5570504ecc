"""Ray Tune's side of ``benchmarks.tuning``, in an environment that has Ray: ASHA over this project's training.

``python benchmarks/tuning/ray_tune.py TASK`` reads the file TASK, a JSON object: the overrides of a run, the number of
trials, their epochs, the folder and the search space. It prints a JSON object: the epochs that were trained, the best
value, and how many trials failed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from mdaf import conf
from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.device_store import DeviceStore
from mdaf.sweeper.machine.device import set_up
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.loop import train

METRIC = "val_auc"


class Reporter:
    """A callback of the training loop that reports each epoch to Ray, which ends the process of a trial it stops."""

    def __init__(self, report: Any) -> None:
        self.report = report

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """Of no interest."""

    def epoch(self, row: Any, replicas: Any, k: int, *, saves: bool) -> bool:
        self.report({METRIC: row[METRIC], "epoch": row["epoch"]})
        return False

    def save(self, position: Any, partial_epoch: Any, replicas: Any, k: int) -> None:
        """Nothing is kept."""

    def wait(self) -> None:
        """Nothing is being saved."""

    def failed(self, error: Exception) -> None:
        raise error


def train_run(overrides: list[str], report: Any) -> None:
    """One run of these overrides, as ``python -m sweeper`` trains it."""
    from benchmarks.train.steps import composed

    conf.register()
    cfg = composed(overrides)
    device = set_up(cfg.device)
    store = prepare_config(cfg.data)
    replicas = build_replicas(cfg, store, [hyperparameters(cfg)], device)
    train(replicas, DeviceStore(store, device), settings(cfg, device), [Reporter(report)])


def main() -> None:
    """Runs the search, and prints what it found."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    task = json.loads(Path(sys.argv[1]).read_text())
    ray.init(include_dashboard=False, log_to_driver=False)
    space = {
        name: tune.loguniform(low, high) if log else tune.uniform(low, high)
        for name, (low, high, log) in task["space"].items()
    }

    def trainable(point: dict[str, float]) -> None:
        train_run([*task["overrides"], *(f"{name}={value!r}" for name, value in point.items())], tune.report)

    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=task["trials"],
            scheduler=ASHAScheduler(max_t=task["epochs"], grace_period=1),
        ),
        run_config=tune.RunConfig(storage_path=task["folder"], name="ray", verbose=0),
    )
    results = tuner.fit()
    epochs = sum(int(result.metrics["epoch"]) for result in results if result.metrics)
    best = results.get_best_result(scope="all").metrics_dataframe[METRIC].max()
    ray.shutdown()
    print(json.dumps({"epochs": epochs, "best": float(best), "failed": results.num_errors}))


if __name__ == "__main__":
    main()
