"""A finished run as the report reads it: from its folder, and from nowhere else."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sweeper.columns import COLUMNS
from sweeper.config import config_hash
from sweeper.errors import UserError

FIGURES = ("val_auc", "val_gauc", "val_loss", "train_auc", "train_loss", "train_val_gap", "gate_mean")


@dataclass(frozen=True)
class Source:
    """Where a run's figures come from.

    ``point``    name of the configuration that the run is one seed of.
    ``stage``    ``search``, ``confirmation`` or ``phase 4``.
    ``folder``   the run's folder, relative to that of the report.
    ``study``    that the run confirms or repeats, None if none; ``trial``: the one that had this configuration, if any.
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
    result = read_result(folder)
    if result is None:
        raise UserError(f"{folder}: holds no result.json, expected a finished run; finish it or leave it out")
    file = folder / "metrics.csv"
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            history = [_row(row) for row in csv.DictReader(lines)]
    except FileNotFoundError:
        raise UserError(f"{file}: not there, expected the metrics of a finished run") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: damaged, expected numbers ({error})") from None
    if not history or any(row.get("val_auc") is None or row.get("epoch") is None for row in history):
        raise UserError(f"{file}: damaged, expected an epoch and a val_auc in every row")
    return Run(folder, history, result)


def read_result(folder: Path) -> dict[str, Any] | None:
    """A run's result.json, None if there is none; UserError if it is damaged."""
    file = folder / "result.json"
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{file}: damaged, expected a JSON object ({error}); delete it to have it repeated") from None
    if not isinstance(result, dict):
        raise UserError(f"{file}: damaged, expected a JSON object; delete it to have it repeated")
    return result


def read_config(folder: Path) -> DictConfig:
    """The config that Hydra saved with a run."""
    file = folder / ".hydra" / "config.yaml"
    if not file.is_file():
        raise UserError(f"{file}: not there, expected the config of the run")
    config = OmegaConf.load(file)
    assert isinstance(config, DictConfig)
    return config


def configuration_of(folder: Path) -> str:
    """A hash of a run's config but for its seed: runs that agree in it differ in the seed alone."""
    config = read_config(folder)
    config.seed = 0
    return config_hash(config)


def _row(row: Mapping[str, str]) -> dict[str, Any]:
    numbers: dict[str, Any] = {name: float(row[name]) if row.get(name) else None for name in COLUMNS}
    numbers["epoch"] = int(row["epoch"])
    return numbers
