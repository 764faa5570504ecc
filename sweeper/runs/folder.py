"""The folder of a run. Each of its files is written completely or not at all.

``result.json`` is written last: where it is, the run is finished. It is one JSON object of plain values. Its one writer
is ``RunFolder.write_result``, with what ``mdaf.sweeper.job.recorder`` hands over; its one reader is ``read_result`` in
``mdaf.sweeper.runs.reader``, which checks the types. Its keys:

- ``state``: ``complete`` or ``pruned``. ``objective``: what the job returned
- ``best_epoch``, ``epochs``: the best epoch, and how many were run. ``best``: the best epoch's row of metrics.csv
- ``monitor``: the metric that decided the best epoch, where it is not ``val_auc``
- ``trivial_rule``: the trivial rule with the highest validation AUC on these data, and that AUC
- ``steadiness``, ``slow_downs``: a sentence on the machine, and each slow-down
- what the run was, from ``mdaf.sweeper.job.identity``: ``config_hash``, ``data_hash``, ``commit``, ``seed``,
  ``device``, ``precision``, ``study``, ``trial``, ``versions`` and the values that a sweep searches; ``splits`` says in
  a sentence what the data's splits promise
- ``parts``: the parts of a run that went on with other code or on another device
- ``checkpoint``: the digest of best.pt
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mdaf.errors import StoppedError
from mdaf.files.atomic import write_atomically
from mdaf.processes.interruption import EXIT_RESUMABLE, how_to_go_on
from mdaf.sweeper.runs import checkpoint
from mdaf.sweeper.runs.background import Background, HostCopy
from mdaf.sweeper.runs.metric_columns import COLUMNS, ranking_in
from mdaf.sweeper.runs.reader import BEST, RESULT, check_unfinished

log = logging.getLogger(__name__)

DRAFTED = (checkpoint.LAST, BEST, "metrics.csv", RESULT, "summary.txt")  # written under another name, then renamed


class FolderError(StoppedError):
    """A run's folder cannot be written to, for example because the disk is full."""

    exit_code = EXIT_RESUMABLE


class RunFolder:
    """The folder of one run. FolderError if it cannot be written to; earlier files are then still complete."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        with self._explained("it"):
            self.path.mkdir(parents=True, exist_ok=True)
        self._background, self._copy, self._best_copy = Background(), HostCopy(), HostCopy()
        self._best: dict[str, Any] | None = None  # the content of the best.pt that is to be written

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Writes metrics.csv: one row for each epoch; metrics that do not exist are empty.

        Ranking metrics are columns where an epoch has them.
        """
        columns = [*COLUMNS, *ranking_in(history)]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for row in history:
            writer.writerow({name: "" if row.get(name) is None else row[name] for name in columns})
        self.write_text("metrics.csv", text.getvalue())

    def write_checkpoint(self, name: str, content: Mapping[str, Any]) -> None:
        """Writes a checkpoint of tensors and plain values; read it with ``torch.load(..., weights_only=True)``."""
        with self._explained(name):
            checkpoint.put(self.path / name, content)

    def record(
        self,
        history: Sequence[Mapping[str, Any]],
        best: checkpoint.Saved | None = None,
        *,
        aside: bool,
        one_is_left: bool = False,
    ) -> None:
        """Writes metrics.csv after an epoch whose state is not saved; ``aside``: in the background.

        ``best``: as for ``keep_best``. If ``one_is_left`` of the epochs, the background also writes best.pt while that
        one is trained, unless there is a state, which would be older than best.pt then.
        """
        self.wait()
        rows = list(history)
        copied = None if best is None else self._weights(best)

        def work() -> None:
            self.write_metrics(rows)
            if copied is not None:
                self._best = copied()
            if aside and one_is_left and not (self.path / checkpoint.LAST).exists():
                self._write_best()

        if aside:
            self._background.submit(work)
        else:
            work()

    def keep_best(self, state: checkpoint.Saved) -> None:
        """Keeps the weights of the best epoch so far in memory. The next ``save`` writes them to best.pt."""
        self.wait()  # it may be writing those that are kept now
        self._best = self._weights(state)()

    def _weights(self, state: checkpoint.Saved) -> Callable[[], dict[str, Any]]:
        """Gives the content of a best.pt with this state, on the CPU."""
        content = replace(state, history=list(state.history), optimizer=[]).content()
        return (lambda: content) if _on_cpu(state) else self._best_copy.begun(content)

    def forget_best(self) -> None:
        """Drops the weights that ``keep_best`` keeps: the run starts again."""
        with suppress(StoppedError):
            self.wait()  # it may be about to keep them
        self._best = None

    def save(self, state: checkpoint.Saved, *, is_best: bool = False) -> None:
        """Writes metrics.csv and last.pt, and best.pt if ``is_best`` or if a best epoch's weights are kept.

        The previous state stays until ``finished``. The state of a model on a GPU is written in the background:
        ``wait`` returns when it is on the disk. The next call raises what went wrong.
        """
        content = state.content()
        self.wait()
        if _on_cpu(state):
            self._save(content, is_best)
            return
        copied = (self._best_copy if is_best else self._copy).begun(content)
        self._background.submit(lambda: self._save(copied(), is_best))

    def save_best(self) -> None:
        """Waits like ``wait``, and writes best.pt if a best epoch's weights are still kept: no last state took them."""
        self.wait()
        self._write_best()

    def _write_best(self) -> None:
        if self._best is not None:
            self.write_checkpoint(BEST, checkpoint.sealed(self._best))
            self._best = None

    def save_best_without_state(self) -> None:
        """The same for a run that failed, unless it has a state: that goes on with the best.pt of its own time."""
        self.wait()
        if not (self.path / checkpoint.LAST).exists():
            self.save_best()

    def wait(self) -> None:
        """Waits until everything that was saved is on the disk."""
        self._background.wait()

    def _save(self, content: dict[str, Any], is_best: bool) -> None:
        """last.pt first: until best.pt is there too, the state before it and the best.pt of that one are whole.

        If best.pt cannot be written, the state before takes the place of last.pt again: nothing goes on without
        best.pt, and the next state would replace the one before.
        """
        if is_best:
            self._best = content  # until best.pt is there: if that fails, the next state writes it
        if content["metrics_history"]:
            self.write_metrics(content["metrics_history"])
        sealed = checkpoint.sealed(content)
        with self._explained(checkpoint.LAST):
            checkpoint.save(self.path, sealed)
        if is_best:
            with self._explained(BEST):
                checkpoint.link_best(self.path, sealed)
        else:
            try:
                self._write_best()
            except FolderError:
                self.go_back()
                raise
        self._best = None

    def go_back(self) -> None:
        """Puts the state before in the place of last.pt, from which nothing can go on."""
        with self._explained(checkpoint.LAST):
            checkpoint.go_back(self.path)

    def saved(self) -> list[checkpoint.Saved]:
        """The undamaged checkpoints in the folder, the latest first."""
        try:
            self.wait()
        except StoppedError as error:
            log.warning("the last state could not be saved: %s", error)
        return checkpoint.saved_in(self.path)

    def clear(self) -> None:
        """Removes the artifacts of an unfinished run, so that they are not mistaken for this run's.

        FinishedError if the run in the folder is finished: only a user may delete it.
        """
        self.wait()
        check_unfinished(self.path)
        for name in (*DRAFTED, checkpoint.BEFORE):
            (self.path / name).unlink(missing_ok=True)
        for scores in self.path.glob("scores_*.npz"):
            scores.unlink()

    def remove_drafts(self) -> None:
        """Removes what killed processes had begun to write. Only the process that holds the folder's lock may call it.

        FolderError if that is impossible.
        """
        with self._explained("what a killed process left"):
            for name in DRAFTED:
                for draft in self.path.glob(f".{name}.[0-9]*"):
                    draft.unlink(missing_ok=True)

    def finished(self) -> None:
        """Removes the previous checkpoint, which only resuming needs, once everything is written."""
        self.wait()
        self._copy, self._best_copy = HostCopy(), HostCopy()
        (self.path / checkpoint.BEFORE).unlink(missing_ok=True)

    def write_result(self, content: Mapping[str, Any]) -> None:
        """Writes result.json, keys in the given order. ValueError for NaN and the like, which JSON lacks."""
        self.write_text(RESULT, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file in UTF-8."""
        with self._explained(name):
            write_atomically(self.path / name, lambda file: file.write(text.encode()))

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FolderError(
                f"{self.path}: {name} cannot be written: {error.strerror or error}; when that is mended, "
                f"{how_to_go_on()}"
            ) from error


def _on_cpu(state: checkpoint.Saved) -> bool:
    return all(weight.device.type == "cpu" for weight in state.weights.values())
