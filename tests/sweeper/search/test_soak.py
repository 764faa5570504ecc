"""Memory stays flat, over the epochs of one run and over the trials of one process."""

from __future__ import annotations

import gc
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from mdaf.sweeper.job.job import Job
from mdaf.sweeper.job.recorder import Recorder
from mdaf.sweeper.machine.telemetry import resident_mb
from tests.sweeper.inside import start

GROWTH = 0.02
READINGS = "memory.txt"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


def note() -> None:
    gc.collect()
    with Path(READINGS).open("a") as file:
        file.write(f"{resident_mb()}\n")


def note_each_epoch() -> None:
    epoch_of = Recorder.epoch

    def epoch(self: Recorder, *arguments: Any, **named: Any) -> bool:
        stops = epoch_of(self, *arguments, **named)
        note()
        return stops

    Recorder.epoch = epoch  # type: ignore[method-assign]


def note_each_trial() -> None:
    finish_of = Job.finish

    def finish(self: Job) -> Any:
        value = finish_of(self)
        note()
        return value

    Job.finish = finish  # type: ignore[method-assign]


def growth(folder: Path, settled: int) -> float:
    """From the readings around the ``settled``-th to the last ones, as a share; the median of five each."""
    readings = [float(line) for line in (folder / READINGS).read_text().split()]
    before, after = median(readings[settled - 2 : settled + 3]), median(readings[-5:])
    grown = after / before - 1
    print(f"{len(readings)} readings: {before:.1f} MB at number {settled}, {after:.1f} MB at the end: {grown:+.2%}")
    return grown


def test_memory_does_not_grow_over_thirty_epochs(tmp_path: Path) -> None:
    run = start(tmp_path, "training.epochs=30", "hydra.run.dir=run", sabotage=note_each_epoch)
    run.join()
    assert run.exitcode == 0, (tmp_path / "output.txt").read_text()
    assert growth(tmp_path, settled=5) < GROWTH


def test_memory_does_not_grow_over_a_hundred_trials(tmp_path: Path) -> None:
    sweep = ["-m", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=100", "training.epochs=1"]
    run = start(tmp_path, *sweep, "training.train_sample=200", sabotage=note_each_trial)
    run.join()
    assert run.exitcode == 0, (tmp_path / "output.txt").read_text()
    assert growth(tmp_path, settled=20) < GROWTH
