"""Finished runs side by side: a row a run, and mean and standard deviation over the seeds of one configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

METRICS = ("val_auc", "val_gauc", "val_loss", "train_auc", "train_val_gap", "gate_mean")


def collect(folders: Iterable[Path]) -> pd.DataFrame:
    """A row for each folder that holds a result.json: its overrides, seed, best epoch and the best epoch's metrics.

    ``configuration`` is the run's overrides without the seed: runs that agree in it differ in the seed alone.
    """
    rows = []
    for folder in folders:
        file = folder / "result.json"
        if not file.exists():
            continue
        result = json.loads(file.read_text())
        row = {"configuration": _configuration(folder), "seed": result["seed"], "best_epoch": result["best_epoch"]}
        row |= {name: result["best"][name] for name in METRICS}
        rows.append(row | {"run": folder.name, "folder": str(folder)})
    return pd.DataFrame(rows)


def _configuration(folder: Path) -> str:
    """The task overrides that Hydra saved with the run, but for the seed and the place in a study."""
    file = folder / ".hydra" / "overrides.yaml"
    overrides: Iterable[Any] = OmegaConf.load(file) if file.exists() else []
    return " ".join(o for o in map(str, overrides) if not o.startswith(("seed=", "sweep.")))


def spread(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample standard deviation of the metrics, a pair of rows for each configuration."""
    metrics = runs[list(METRICS)].apply(pd.to_numeric)
    return metrics.groupby(runs["configuration"], sort=False).agg(["mean", "std"])


def show(runs: pd.DataFrame, title: str, console: Console | None = None) -> None:
    """Prints ``collect``'s rows and their spread, a block a configuration."""
    console = console or Console(width=None if Console().is_terminal else 120)
    statistics = spread(runs)
    for configuration, block in runs.groupby("configuration", sort=False):
        table = Table(title=f"{title}  {configuration}".strip(), title_justify="left")
        for name in ("run", "seed", "best_epoch", *METRICS):
            table.add_column(name, justify="left" if name == "run" else "right")
        for _, run in block.iterrows():
            table.add_row(run["run"], str(run["seed"]), str(run["best_epoch"]), *(_figure(run[m]) for m in METRICS))
        table.add_section()
        for statistic in ("mean", "std"):
            figures = (_figure(statistics[m, statistic][configuration]) for m in METRICS)
            table.add_row(statistic, "", "", *figures)
        console.print(table)


def _figure(value: float | None) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:.4f}"
