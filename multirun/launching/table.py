"""Finished runs side by side: a row a run, and mean and standard deviation over the seeds of one configuration."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from mdaf.errors import UserError
from mdaf.multirun.analysis.judging.versions import of_other_code
from mdaf.sweeper.runs.metric_columns import OF_A_MULTIRUN, ranking_in
from mdaf.sweeper.runs.reader import RecordedRun, read_run
from mdaf.terminal import tables

log = logging.getLogger(__name__)

IMPORTANT = {"val_auc": 2, "train_val_gap": 3}  # of a narrow terminal's table, beside the run and its seed

RunRow = dict[str, Any]  # of ``collect``


class Spread(NamedTuple):
    """Mean and sample standard deviation; not a number where there are too few values."""

    mean: float
    std: float


def collect(folders: Iterable[Path]) -> list[RunRow]:
    """A row for each folder that holds a result.json: its overrides, seed, best epoch and the best epoch's metrics.

    ``configuration`` is the run's overrides without the seed: runs that agree in it differ in the seed alone. Where
    the runs were evaluated on different data it also names these.
    """
    rows = []
    for folder in folders:
        try:
            run = read_run(folder, ("seed", "best_epoch", "best"))
        except UserError as error:
            log.warning("%s; the run is left out of the table", error)
            continue
        result = run.result
        if not result:
            continue
        row = {"configuration": _configuration(run), "seed": result["seed"], "best_epoch": result["best_epoch"]}
        row |= {name: result["best"].get(name) for name in (*OF_A_MULTIRUN, *ranking_in([result["best"]]))}
        rows.append(row | {"run": folder.name, "folder": str(folder), "data": result.get("data_hash", "")})
        rows[-1]["commit"] = result.get("commit", "")
    if len({row["data"] for row in rows}) > 1:
        for row in rows:
            row["configuration"] = f"{row['configuration']} (data {row['data'][:12]})".strip()
    return rows


def _configuration(run: RecordedRun) -> str:
    """The task overrides that Hydra saved with the run, but for the seed and the place in a study."""
    return " ".join(o for o in run.overrides if not o.startswith(("seed=", "sweep.")))


def spread(runs: Sequence[RunRow]) -> dict[str, dict[str, Spread]]:
    """The spread of each metric over the seeds of each configuration, in the order in which these come.

    A seed that was run twice counts once: it would make the spread smaller than it is.
    """
    return {
        configuration: {name: _spread(run.get(name) for run in by_seed.values()) for name in metrics_of(block)}
        for configuration, block in _by_configuration(runs).items()
        for by_seed in [{run["seed"]: run for run in block}]
    }


def metrics_of(block: Sequence[RunRow]) -> list[str]:
    """The metrics that a configuration's runs have."""
    return [*(name for name in OF_A_MULTIRUN if any(run.get(name) is not None for run in block)), *ranking_in(block)]


def _by_configuration(runs: Sequence[RunRow]) -> dict[str, list[RunRow]]:
    blocks: dict[str, list[RunRow]] = {}
    for run in runs:
        blocks.setdefault(run["configuration"], []).append(run)
    return blocks


def _spread(values: Iterable[float | None]) -> Spread:
    found = [value for value in values if value is not None and not math.isnan(value)]
    mean = statistics.fmean(found) if found else math.nan
    return Spread(mean, statistics.stdev(found) if len(found) > 1 else math.nan)


def show(runs: Sequence[RunRow], title: str, console: Console | None = None) -> None:
    """Prints ``collect``'s rows and their spread, a block a configuration."""
    console = console or tables.console()
    spreads = spread(runs)
    for configuration, block in _by_configuration(runs).items():
        columns = [
            tables.Column("run", [*(run["run"] for run in block), *Spread._fields], rank=0),
            tables.Column("seed", [*(str(run["seed"]) for run in block), "", ""], right=True, rank=1),
            tables.Column("best_epoch", [*(str(run["best_epoch"]) for run in block), "", ""], right=True, rank=4),
        ]
        for name in metrics_of(block):
            figures = [_figure(run.get(name)) for run in block] + [_figure(one) for one in spreads[configuration][name]]
            columns.append(tables.Column(name, figures, right=True, rank=IMPORTANT.get(name, 5)))
        heading = f"{title}  {configuration}".strip()
        table, dropped = tables.fitted(columns, console.width, framed=True, title=heading, lines=[len(block)])
        console.print(table)
        if dropped:
            console.print(tables.left_out(dropped, "each run's result.json has all"))
    if others := of_other_code([run.get("commit", "") for run in runs], None):
        console.print(f"These are {others}.")


def _figure(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"
