"""The line of the epoch under way, and the estimate of the whole: both may begin anywhere."""

from __future__ import annotations

import time

import pytest
import torch

from mdaf.sweeper.hydra_ext import eta
from mdaf.sweeper.training.progress import EpochProgress
from mdaf.terminal import screen
from tests.terminals import on_a_terminal, screen_of


@pytest.mark.parametrize("columns", [1, 60])
def test_a_terminal_of_any_width_is_written_to(columns: int) -> None:
    def train() -> None:
        line = EpochProgress(epochs=3, batch_size=50)
        line.step(1, 10, 10, torch.tensor(0.5))
        line.close()

    assert "epoch" in on_a_terminal(train, columns)


@pytest.mark.parametrize("first", [1, 3, 10])
@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["no time passes", "a second a step"])
def test_the_line_begins_after_any_step_however_little_time_has_passed(
    monkeypatch: pytest.MonkeyPatch, first: int, seconds: float
) -> None:
    clock = [100.0]

    def train() -> None:
        line = EpochProgress(epochs=3, batch_size=50)
        for step in range(first, 11):
            line.step(2, step, 10, torch.tensor(0.5))
            clock[0] += seconds
        screen.add(lambda: None)()  # draws what there is
        line.close()

    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: clock[0])
        said = on_a_terminal(train, 100)
    assert "10/10" in said
    assert "".join(screen_of(said)).strip() == ""
    assert ("50 samples/s" in said) == (seconds > 0 and first < 10)  # the rate of the steps since, not of all


def test_the_estimate_counts_from_the_epoch_in_which_a_run_goes_on() -> None:
    eta.expect(eta.Plan(3))
    eta.already_there()
    said = eta.after_first_epoch(10.0, epoch=4, epochs=5, in_lock_step=1)
    assert said is not None
    assert said.startswith("estimate of what is left of 2 runs of 5 epochs: about 60 s, until ")
    assert eta.after_first_epoch(10.0, epoch=5, epochs=5, in_lock_step=1) is None


def test_the_estimate_of_a_run_from_its_beginning_is_that_of_the_whole() -> None:
    eta.expect(eta.Plan(2))
    said = eta.after_first_epoch(10.0, epoch=1, epochs=5, in_lock_step=1)
    assert said is not None
    assert said.startswith("estimate of the whole: 2 runs of 5 epochs take about 2 min, until ")


def test_the_estimate_leaves_out_what_compiling_took_in_the_first_epoch() -> None:
    eta.expect(eta.Plan(2))
    said = eta.after_first_epoch(100.0, epoch=1, epochs=5, in_lock_step=1, once=90.0)
    assert said is not None
    assert said.startswith("estimate of the whole: 2 runs of 5 epochs take about 3 min, until ")
