"""MLflow: a run each, nested in the run of its sweep. By a client of its own, which changes nothing global."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mdaf.sweeper.tracking.tracker import State, Told, library

MOST_PARAMS = 100  # of a request
LONGEST = 500  # characters of a parameter's value, which older servers take
STATUS: dict[State, str] = {
    "complete": "FINISHED",
    "pruned": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}


class MLflowRun:
    """A run of an MLflow experiment."""

    def begin(self, told: Told, known: str | None, parent: str | None) -> str:
        """Creates the run with its parameters, or sets one to running again."""
        self._client, self._parent = _client(told), parent
        if parent is not None:
            self._client.update_run(parent, status="RUNNING")
        if known is not None:
            self._id = known
            self._client.update_run(known, status="RUNNING")
            return known
        tags = dict(told.tags) | ({"mlflow.parentRunId": parent} if parent else {})
        run = self._client.create_run(_experiment(self._client, told), tags=tags, run_name=told.name)
        self._id = run.info.run_id
        entities = library("mlflow.entities", "mlflow")
        params = [entities.Param(name, str(value)[:LONGEST]) for name, value in told.params.items()]
        for some in _batches(params):
            self._client.log_batch(self._id, params=some)
        return str(self._id)

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Logs the metrics at the epoch's number as their step."""
        entity, now = library("mlflow.entities", "mlflow").Metric, int(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[entity(name, value, now, number) for name, value in metrics.items()])

    def end(self, state: State, summary: Mapping[str, float], artifacts: Mapping[str, Path]) -> None:
        """Logs the summary and the artifacts, and sets the status."""
        try:
            self._client.set_tag(self._id, "mdaf.state", state)
            for name, value in summary.items():
                self._client.log_metric(self._id, f"best_{name}", value)
            for file in artifacts.values():
                self._client.log_artifact(self._id, str(file))
        finally:
            self._client.set_terminated(self._id, status=STATUS[state])
            if self._parent is not None:  # until another run of the sweep begins
                self._client.set_terminated(self._parent, status="FINISHED")


def parent_of(told: Told) -> str:
    """Creates the run of a sweep, in which its runs are nested; its id. It is running while one of them is."""
    client = _client(told)
    run = client.create_run(_experiment(client, told), tags={"mdaf.sweep": str(told.group)}, run_name=str(told.group))
    return str(run.info.run_id)


def _client(told: Told) -> Any:
    return library("mlflow", "mlflow").MlflowClient(tracking_uri=told.uri)


def _experiment(client: Any, told: Told) -> str:
    """The id of the experiment, which is created unless it is there; another process may do so meanwhile."""
    for attempt in itertools.count():
        if (found := client.get_experiment_by_name(told.project)) is not None:
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(told.project))
        except Exception:
            if attempt:
                raise
    raise AssertionError


def _batches(items: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), MOST_PARAMS):
        yield list(items[start : start + MOST_PARAMS])
