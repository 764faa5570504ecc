"""A run at its tracker. Whatever goes wrong there is one warning, and then the run goes on without its tracker."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from mdaf.errors import text_of
from mdaf.files.atomic import write_atomically
from mdaf.files.plain import plain_text
from mdaf.messages.reporting import is_interruption
from mdaf.messages.secrets import masked_text
from mdaf.processes.bounded import HangingError, within
from mdaf.sweeper.runs.metric_columns import EpochMetrics
from mdaf.sweeper.tracking.parents import parent_of
from mdaf.sweeper.tracking.tracker import State, Told, Tracker, unknown

log = logging.getLogger(__name__)

NAME = "tracker.json"  # in the run's folder: which tracker, the run's id there, and how many epochs it has
FILES = {"summary": "summary.txt", "metrics": "metrics.csv", "checkpoint": "best.pt"}
CALL_SECONDS = 60.0  # after which a tracker counts as one that hangs
UPLOAD_SECONDS = 600.0  # the same where files are handed over
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)
_hanging: set[str] = set()  # trackers of which this process waits no more


def tracker_named(name: str) -> Tracker:
    """A run at the tracker of this name, not begun yet."""
    if name == "tensorboard":
        from mdaf.sweeper.tracking.tensorboard_events import TensorBoardRun

        return TensorBoardRun()
    if name == "wandb":
        from mdaf.sweeper.tracking.wandb_runs import WandbRun

        return WandbRun()
    if name == "mlflow":
        from mdaf.sweeper.tracking.mlflow_runs import MLflowRun

        return MLflowRun()
    if name == "aim":
        from mdaf.sweeper.tracking.aim_runs import AimRun

        return AimRun()
    raise unknown(name)


class TrackedRun:
    """A run that a tracker shows, from the moment when it trains. As a context manager it marks how the run failed.

    A run that goes on does so in the same entry: epochs that the tracker has already are not told again.

    ``name``       of the tracker
    ``artifacts``  what is handed over at the end, of ``FILES``
    """

    def __init__(self, name: str, told: Told, artifacts: list[str]) -> None:
        self.name, self.told, self.artifacts = name, told, artifacts
        self._tracker: Tracker | None = None
        self._silent = False
        self._epochs = 0
        self._over = False

    def begin(self) -> None:
        """Begins the entry, or goes on with the one of an earlier process."""
        self._try(self._begun)

    def restart(self) -> None:
        """Forgets the entry of an earlier process: this run is another one."""
        (self.told.folder / NAME).unlink(missing_ok=True)

    def epoch(self, row: EpochMetrics) -> None:
        """Tells an epoch's metrics, unless the tracker has them."""
        self._try(lambda: self._epoch(row))

    def end(self, state: State, best: EpochMetrics | None = None) -> None:
        """Ends the run at the tracker, with the best epoch's metrics. The first call counts."""
        if not self._over:
            self._over = True
            self._try(lambda: self._end(state, best), UPLOAD_SECONDS if self.artifacts else None)

    def ended_by(self, error: BaseException) -> None:
        """Ends the run as failed or interrupted."""
        self.end("failed" if isinstance(error, Exception) and not is_interruption(error) else "interrupted")

    def __enter__(self) -> TrackedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.ended_by(error)

    def _try(self, action: Callable[[], object], seconds: float | None = None) -> None:
        if self._silent or self.name in _hanging:
            return
        try:
            within(CALL_SECONDS if seconds is None else seconds, action)
        except Exception as error:
            self._silent = True
            after = "the run goes on without it"
            if isinstance(error, HangingError):
                _hanging.add(self.name)
                after = "this process goes on without it"
            why = masked_text(" ".join(text_of(error).split()))[:300] or type(error).__name__
            why = why.removeprefix(f"tracker={self.name} ")
            sweep = self.told.group_folder  # its other runs have the same fault; see ``mdaf.sweeper.job.job_log``
            extra = {} if sweep is None else {"common_in": str(sweep)}
            log.warning("tracker=%s: %s; %s", self.name, why, after, extra=extra)

    def _epoch(self, row: EpochMetrics) -> None:
        tracker = self._begun()
        if row["epoch"] <= self._epochs:
            return
        tracker.epoch(row["epoch"], numbers_of(row))
        self._epochs = row["epoch"]
        self._write()

    def _end(self, state: State, best: EpochMetrics | None) -> None:
        if self._tracker is None and best is None:
            return  # it failed before it trained
        tracker = self._begun()
        files = {name: self.told.folder / FILES[name] for name in self.artifacts}
        found = {name: file for name, file in files.items() if file.is_file()}
        tracker.end(state, {} if best is None else numbers_of(best) | {"epoch": float(best["epoch"])}, found)

    def _begun(self) -> Tracker:
        if self._tracker is None:
            known, self._epochs = self._known()
            begun = tracker_named(self.name)
            parent = None if known is not None else parent_of(self.name, self.told)
            self._id = begun.begin(self.told, known, parent)
            self._tracker = begun
            self._write()
        return self._tracker

    def _known(self) -> tuple[str | None, int]:
        """The id of this run's entry and how many epochs it has, where an earlier process has begun one."""
        try:
            content = json.loads(plain_text(self.told.folder / NAME).read_text())
        except (OSError, ValueError):
            return None, 0
        if not isinstance(content, dict) or content.get("tracker") != self.name:
            return None, 0
        found, epochs = content.get("id"), content.get("epochs")
        if not (isinstance(found, str) and _ID.fullmatch(found) and type(epochs) is int and epochs >= 0):
            return None, 0
        return found, epochs

    def _write(self) -> None:
        content = json.dumps({"tracker": self.name, "id": self._id, "epochs": self._epochs})
        write_atomically(self.told.folder / NAME, lambda file: file.write(content.encode()))


def numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of an epoch that exist and are finite, without its number."""
    return {
        name: float(value)
        for name, value in row.items()
        if name != "epoch" and isinstance(value, int | float) and math.isfinite(value)
    }
