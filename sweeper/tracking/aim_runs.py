"""Aim: a run each; the runs of a sweep share an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdaf.sweeper.tracking.tracker import State, Told, library


class AimRun:
    """A run of an Aim repository."""

    def begin(self, told: Told, known: str | None, parent: str | None) -> str:
        """Begins the run, or opens the one that is known."""
        self._run: Any = library("aim", "aim").Run(
            run_hash=known,
            repo=told.uri,
            experiment=told.group or told.project,
            system_tracking_interval=None,
            log_system_params=False,
            capture_terminal_logs=False,
        )
        if known is None:
            self._run.name = told.name
            self._run["hparams"] = dict(told.params)
            for name, value in {"project": told.project, **told.tags}.items():
                self._run[name] = value
        return str(self._run.hash)

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Tracks the metrics at the epoch's number as their step."""
        for name, value in metrics.items():
            self._run.track(value, name=name, step=number, epoch=number)

    def end(self, state: State, summary: Mapping[str, float], artifacts: Mapping[str, Path]) -> None:
        """Writes the summary and the state, texts as they are and the path of a checkpoint, and closes the run."""
        try:
            self._run["summary"] = dict(summary)
            self._run["state"] = state
            for name, file in artifacts.items():  # Aim uploads files only to an object store that was set up for it
                key = "report" if name == "summary" else name
                self._run[key] = str(file) if file.suffix == ".pt" else file.read_text()
        finally:
            self._run.close()
