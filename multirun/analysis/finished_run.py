"""A finished run as the report reads it: from its folder, and from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mdaf.errors import UserError
from mdaf.sweeper.hydra_ext.run_config import config_hash, is_hash_of
from mdaf.sweeper.runs.reader import CONFIG, IDENTITY, read_config, read_metrics, read_result

NEEDED = ("val_auc", "epoch_seconds")  # in every epoch of a run that a report is about
FIGURES = ("val_auc", "val_gauc", "val_loss", "train_auc", "train_loss", "train_val_gap", "gate_mean")


@dataclass(frozen=True)
class Source:
    """Where a run's figures come from.

    ``point``    name of the configuration that the run is one seed of.
    ``stage``    ``search``, ``confirmation`` or ``phase 4``.
    ``folder``   the run's folder, relative to that of the report.
    ``study``    that the run confirms or repeats, None if none; ``trial``: the one that had this configuration, if any.
    ``checkpoint``  SHA-256 of the run's best.pt, if figures come from it; versions before this did not write it.
    """

    id: str
    stage: str
    point: str
    seed: int
    folder: str
    study: str | None
    trial: int | None
    config_hash: str
    data_hash: str
    commit: str
    device: str
    checkpoint: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """A run's epochs, rows of metrics.csv as numbers (None where a column is empty), and its result.json."""

    folder: Path
    history: list[dict[str, Any]]
    result: dict[str, Any]

    @property
    def best(self) -> dict[str, Any]:
        """The epoch with the highest validation AUC, the first of equals, as the training loop keeps it."""
        return max(self.history, key=lambda row: (row["val_auc"], -row["epoch"]))


def read_run(folder: Path) -> Run:
    """A finished run; UserError names the file that is missing or damaged."""
    result = read_result(folder, IDENTITY)
    if result is None:
        raise UserError(f"{folder}: holds no result.json, expected a finished run; finish it or leave it out")
    history, file = read_metrics(folder), folder / "metrics.csv"
    for row in history:
        if missing := [name for name in NEEDED if row[name] is None]:
            raise UserError(f"{file} is damaged: epoch {row['epoch']} has no {missing[0]}")
    if len(history) != result.get("epochs", len(history)) or not history:
        raise UserError(f"{file} is damaged: it holds {len(history)} epochs, result.json says {result.get('epochs')}")
    return Run(folder, history, result)


def commit_of(folder: Path) -> str:
    """The commit that trained a finished run; of one in parts all of them."""
    result = read_result(folder, IDENTITY)
    assert result is not None
    return str(result["commit"])


def check_agreement(run: Run) -> None:
    """UserError if a run's result.json and metrics.csv do not tell of the same best epoch."""
    for name, value in {"epoch": run.result["best_epoch"], **run.result["best"]}.items():
        if name in run.best and value != run.best[name]:
            raise UserError(
                f"{run.folder}: result.json says {name} {value} of the best epoch, metrics.csv says {run.best[name]}: "
                "one of them is not this run's; train the run again, or leave it out"
            )


def check_same_data(folders: Mapping[str, Path]) -> None:
    """UserError where runs, by the hash of their data, were evaluated on more than one log: nothing compares them."""
    if len(folders) > 1:
        (one, first), (other, second) = list(folders.items())[:2]
        raise UserError(
            f"{first} and {second}: were trained and evaluated on different data ({one[:12]} and {other[:12]}), "
            "expected runs on the same data; summarize those of each log by themselves"
        )


def config_of(folder: Path, result: Mapping[str, Any]) -> DictConfig:
    """The config that Hydra saved with a run; UserError if it is not the one of its ``result``."""
    config = read_config(folder)
    if not is_hash_of(config, result["config_hash"]):
        raise UserError(
            f"{folder / CONFIG}: its hash is {config_hash(config)}, but result.json says {result['config_hash']}: it "
            "is damaged or of another run; train the run again, or leave it out"
        )
    return config


def configuration_of(config: DictConfig) -> str:
    """A hash of a run's config but for its seed: runs that agree in it differ in the seed alone."""
    config = config.copy()
    config.seed = 0
    return config_hash(config)
