"""What a run leaves on disk, each file written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mdaf.atomic import write_atomically
from mdaf.errors import StoppedError
from mdaf.interruption import EXIT_RESUMABLE, how_to_go_on
from mdaf.sweeper.runs import checkpoint
from mdaf.sweeper.runs.background import Background, HostCopy
from mdaf.sweeper.runs.metric_columns import COLUMNS
from mdaf.sweeper.runs.reader import BEST, check_unfinished, read_json

log = logging.getLogger(__name__)


class FolderError(StoppedError):
    """A run's folder takes no more."""

    exit_code = EXIT_RESUMABLE


class RunFolder:
    """The output folder of one run. FolderError where it cannot be written to; what it held before is then there."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        with self._explained("it"):
            self.path.mkdir(parents=True, exist_ok=True)
        self._background, self._copy = Background(), HostCopy()

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """metrics.csv: a row an epoch; what does not apply stays empty."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in history:
            writer.writerow({name: "" if row.get(name) is None else row[name] for name in COLUMNS})
        self.write_text("metrics.csv", text.getvalue())

    def write_checkpoint(self, name: str, content: Mapping[str, Any]) -> None:
        """A checkpoint of tensors and plain values, to be read with ``torch.load(..., weights_only=True)``."""
        with self._explained(name):
            write_atomically(self.path / name, lambda file: checkpoint.write(content, file))

    def save(self, state: checkpoint.Saved, *, is_best: bool = False) -> None:
        """metrics.csv and last.pt, and best.pt too if it ``is_best``; the state before it is kept until ``finished``.

        The state of a model on a GPU is written while training goes on: ``wait`` until it is there. What went wrong
        with it is raised by the next call.
        """
        content = state.content()
        if all(weight.device.type == "cpu" for weight in state.weights.values()):
            self._save(content, is_best)
            return
        self._background.wait()
        copied = self._copy.of(content)
        self._background.submit(lambda: self._save(copied, is_best))

    def wait(self) -> None:
        """Returns when everything that was saved is on the disk."""
        self._background.wait()

    def _save(self, content: Mapping[str, Any], is_best: bool) -> None:
        if content["metrics_history"]:
            self.write_metrics(content["metrics_history"])
        content = checkpoint.sealed(content)
        if is_best:
            self.write_checkpoint(BEST, content)
        with self._explained(checkpoint.LAST):
            checkpoint.save(self.path, content, self.path / BEST if is_best else None)

    def saved(self) -> list[checkpoint.Saved]:
        """The states that are there and whole, the newest first."""
        try:
            self.wait()
        except StoppedError as error:
            log.warning("the last state could not be saved: %s", error)
        return checkpoint.saved_in(self.path)

    def clear(self) -> None:
        """Takes away what an unfinished run left, so that nothing of it is taken for this one's.

        FinishedError if a run was finished here: nothing but a user deletes one.
        """
        self.wait()
        check_unfinished(self.path)
        for name in (checkpoint.LAST, checkpoint.BEFORE, BEST, "metrics.csv", "result.json", "summary.txt"):
            (self.path / name).unlink(missing_ok=True)
        for scores in self.path.glob("scores_*.npz"):
            scores.unlink()

    def finished(self) -> None:
        """Takes away what only resuming needs, once everything is written."""
        self.wait()
        self._copy = HostCopy()
        (self.path / checkpoint.BEFORE).unlink(missing_ok=True)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Plain values, with keys in the given order; ValueError for what JSON has no word for, such as NaN."""
        self.write_text(name, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """A text file in UTF-8."""
        with self._explained(name):
            write_atomically(self.path / name, lambda file: file.write(text.encode()))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """What ``write_json`` wrote, or None if there is no such file. UserError if it is damaged."""
        path = self.path / name
        return read_json(path, "delete it to have it written again") if path.exists() else None

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FolderError(
                f"{self.path}: {name} cannot be written: {error.strerror or error}; when that is mended, "
                f"{how_to_go_on()}"
            ) from error
