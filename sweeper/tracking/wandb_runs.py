"""Weights & Biases: a run each, a group for each sweep. ``WANDB_MODE`` and the other variables hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdaf.sweeper.tracking.tracker import State, Told, library

LOGIN_SECONDS = 30  # for an answer to the question for a key


class WandbRun:
    """A run of a W&B project. Several may be open at once in a process, as replicas in lock-step need it."""

    def begin(self, told: Told, known: str | None, parent: str | None) -> str:
        """Begins the run, or resumes the one that is known."""
        wandb = library("wandb", "wandb")
        self._wandb = wandb
        self._run: Any = wandb.init(
            project=told.project,
            dir=str(told.folder) if told.uri is None else told.uri,
            id=known,
            resume=None if known is None else "allow",
            name=told.name,
            group=told.group,
            config={**told.params, **told.tags},
            reinit="create_new",
            settings=wandb.Settings(console="off", login_timeout=LOGIN_SECONDS, silent=True),
        )
        return str(self._run.id)

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Logs the metrics at the epoch's number as their step."""
        self._run.log(dict(metrics), step=number)

    def end(self, state: State, summary: Mapping[str, float], artifacts: Mapping[str, Path]) -> None:
        """Writes the summary, uploads the artifacts, and finishes the run."""
        try:
            self._run.summary.update({**{f"best/{name}": value for name, value in summary.items()}, "state": state})
            if artifacts:
                uploaded = self._wandb.Artifact(f"run-{self._run.id}", type="run")
                for file in artifacts.values():
                    uploaded.add_file(str(file))
                self._run.log_artifact(uploaded)
        finally:
            self._run.finish(exit_code=0 if state in ("complete", "pruned") else 1)
