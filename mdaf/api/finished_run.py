"""A finished run, as Python has it."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdaf.api.command import outcome_of
from mdaf.api.display import table
from mdaf.api.overrides import Overrides, words_of
from mdaf.errors import UserError
from mdaf.extras import imported, require

if TYPE_CHECKING:
    import pandas as pd

    from mdaf.sweeper.predict.predictor import Predictor
    from mdaf.sweeper.runs.reader import RecordedRun


def path_of(what: str, given: object, expected: str) -> str:
    """An argument that names a file or folder, as text. UserError where it is neither a text nor a path."""
    if not isinstance(given, str | os.PathLike):
        raise UserError(f"{what}: found {given!r}, expected {expected}")
    return os.fspath(given)


class Run:
    """A finished run. `mdaf.run` returns one; `Run(folder)` reads one that is there.

    Attributes:
        folder: The run's folder.
    """

    def __init__(self, folder: str | Path) -> None:
        """Reads a run.

        Args:
            folder: The run's folder.

        Raises:
            UserError: If there is no finished run, or a file of it is damaged.
        """
        from mdaf.sweeper.runs.reader import read_finished_run

        self.folder = Path(path_of("run", folder, "a run's folder"))
        self._recorded: RecordedRun = read_finished_run(self.folder)

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def result(self) -> dict[str, Any]:
        """What `result.json` holds: the best epoch, hashes of config and data, versions, device, seed."""
        return dict(self._recorded.result)

    @property
    def monitor(self) -> str:
        """The metric that decides the best epoch, such as `val_auc`."""
        return self._recorded.monitor

    @property
    def best_epoch(self) -> int:
        """The number of the best epoch."""
        return int(self._recorded.best["epoch"])

    @property
    def best_value(self) -> float:
        """The value of `monitor` in the best epoch."""
        return float(self._recorded.best[self.monitor])

    @property
    def metrics(self) -> pd.DataFrame:
        """The metrics of each epoch, as in `metrics.csv`; a row for each epoch."""
        return imported("pandas", "python", "metrics").DataFrame(self._recorded.history)

    @property
    def summary(self) -> str:
        """The text of `summary.txt`."""
        return (self.folder / "summary.txt").read_text(encoding="utf-8")

    def load(self, **options: Any) -> Predictor:
        """The run's model, ready to score rows. See `mdaf.load` for the options."""
        require("ctr", "load")
        from mdaf.sweeper.predict.predictor import Predictor

        return Predictor(self.folder, **options)

    def predict(self, rows: Any, *arguments: Any, **options: Any) -> Any:
        """Scores rows with raw ids; the model is read once. See the method of what `mdaf.load` returns."""
        return self._predictor.predict(rows, *arguments, **options)

    @cached_property
    def _predictor(self) -> Predictor:
        return self.load()

    def __repr__(self) -> str:
        epochs = len(self._recorded.history)
        best = f"best {self.monitor} {self.best_value:.4f} in epoch {self.best_epoch} of {epochs}"
        return f"<mdaf run {self.folder}: {best}>"

    def _repr_html_(self) -> str:
        result = self._recorded.result
        rows = [
            (f"best {self.monitor}", f"{self.best_value:.4f}"),
            ("best epoch", f"{self.best_epoch} of {len(self._recorded.history)}"),
            *((name, result[name]) for name in ("model", "data", "seed", "device") if result.get(name) is not None),
            ("folder", self.folder),
        ]
        return table("Run", rows)


def run(overrides: Overrides = (), *, quiet: bool = False) -> Run:
    """Trains a model: `mdaf OVERRIDES` as a child process. See `mdaf.run`."""
    require("ctr", "mdaf.run")
    return Run(outcome_of("mdaf.sweeper", words_of(overrides), quiet=quiet)["folder"])
