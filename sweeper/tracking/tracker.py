"""What a tracker is told of a run, and what every tracker has to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from mdaf.errors import UserError
from mdaf.extras import imported

State = Literal["complete", "pruned", "failed", "interrupted"]


@dataclass(frozen=True)
class Told:
    """A run as a tracker is told of it; passwords are hidden in all of it.

    ``name``     of the run: its folder's, with the study's or the sweep's before it
    ``folder``   of the run
    ``project``  that holds the runs
    ``uri``      where the tracker keeps them; None: what its library does by itself
    ``params``   the config, as dotted keys and values
    ``tags``     what the run is: study, trial, seed, hashes, commit, device
    ``group``    the sweep that the run belongs to; None for a single run
    """

    name: str
    folder: Path
    project: str
    uri: str | None
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    group: str | None = None
    group_folder: Path | None = None


class Tracker(Protocol):
    """A run at a tracker. Any method may raise any exception: ``TrackedRun`` handles it."""

    def begin(self, told: Told, known: str | None, parent: str | None) -> str:
        """Begins the run, or goes on with the one that is ``known``; the run's id at the tracker.

        ``parent``  the id of the sweep's own entry, where ``parent_of`` made one
        """

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Adds the metrics of an epoch."""

    def end(self, state: State, summary: Mapping[str, float], artifacts: Mapping[str, Path]) -> None:
        """Ends the run, with its summary and with files by name."""


def library(module: str, extra: str) -> Any:
    """The library of a tracker; UserError with the line to type where it is not installed."""
    return imported(module, extra, f"tracker={extra}")


def unknown(name: str) -> UserError:
    """The error for a tracker that does not exist."""
    return UserError(f"tracker.name: found {name}, expected none, tensorboard, wandb, mlflow or aim")
