"""TensorBoard: event files in the run's folder, or below ``tracker.uri``. A sweep's folder is the parent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdaf.sweeper.tracking.tracker import State, Told, library

FOLDER = "tensorboard"  # in a run's folder


class TensorBoardRun:
    """A run whose curves ``tensorboard --logdir`` shows."""

    def begin(self, told: Told, known: str | None, parent: str | None) -> str:
        """Opens an event file."""
        library("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        folder = told.folder / FOLDER if told.uri is None else Path(told.uri) / told.name
        self._writer: Any = SummaryWriter(str(folder))
        self._params = {name: value for name, value in told.params.items() if isinstance(value, int | float | str)}
        if known is None:
            lines = "\n".join(f"    {name}: {value}" for name, value in {**told.tags, **told.params}.items())
            self._writer.add_text("config", lines, 0)
        return "events"

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def end(self, state: State, summary: Mapping[str, float], artifacts: Mapping[str, Path]) -> None:
        """Writes the hyperparameters with the summary, the state, and artifacts that are text."""
        from torch.utils.tensorboard.summary import hparams

        try:
            self._writer.add_text("state", state, 0)
            if summary:
                for part in hparams(self._params, {f"best/{name}": value for name, value in summary.items()}):
                    self._writer.file_writer.add_summary(part)
                for name, value in summary.items():
                    self._writer.add_scalar(f"best/{name}", value, 0)
            for name, file in artifacts.items():
                if file.suffix != ".pt":  # event files hold no weights
                    self._writer.add_text(name, "\n".join(f"    {line}" for line in file.read_text().splitlines()), 0)
        finally:
            self._writer.close()
