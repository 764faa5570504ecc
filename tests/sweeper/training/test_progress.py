"""The line of the epoch under way, and the estimate of what is left: both may begin anywhere."""

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


def test_the_first_epoch_of_a_process_tells_nothing_and_the_second_one_decides() -> None:
    eta.expect(eta.Plan(3))
    eta.already_there()
    run = eta.Group(1, epochs=5, compiled=0.0)
    assert run.after_epoch(3, 50.0, 0.0) is None  # it warms up, and compiling is not all of that
    said = run.after_epoch(4, 10.0, 0.0)
    assert said is not None
    assert said.startswith("estimate of what is left of 2 runs of 5 epochs: about 60 s, until ")
    assert run.after_epoch(5, 10.0, 0.0) is None


def test_runs_of_one_epoch_are_estimated_by_the_second_run() -> None:
    eta.expect(eta.Plan(5))
    assert eta.Group(1, epochs=1, compiled=0.0).after_epoch(1, 50.0, 0.0) is None
    said = eta.Group(1, epochs=1, compiled=0.0).after_epoch(1, 10.0, 0.0)
    assert said is not None
    assert said.startswith("estimate of what is left of 5 runs of 1 epoch: about 30 s, until ")


def test_a_long_first_epoch_gives_an_upper_bound_until_the_second_one() -> None:
    eta.expect(eta.Plan(2))
    run = eta.Group(1, epochs=5, compiled=10.0)
    said = run.after_epoch(1, 3700.0, 110.0)
    assert said is not None
    assert said.startswith("estimate of what is left of 2 runs of 5 epochs: at most 9 h 00 min, until ")
    said = run.after_epoch(2, 1800.0, 110.0)
    assert said is not None
    assert said.startswith("estimate of what is left of 2 runs of 5 epochs: about 4 h 00 min, until ")


def test_the_runs_of_a_group_are_estimated_once_for_an_epoch() -> None:
    eta.expect(eta.Plan(8))
    group = eta.Group(4, epochs=3, compiled=0.0)
    assert [group.after_epoch(1, 20.0, 0.0) for _ in range(4)] == [None] * 4
    said = [group.after_epoch(2, 10.0, 0.0) for _ in range(4)]
    assert said[0] is not None
    assert said[0].startswith("estimate of what is left of 8 runs of 3 epochs: about 40 s, until ")
    assert said[1:] == [None] * 3


def test_compiling_within_the_second_epoch_is_left_out() -> None:
    eta.expect(eta.Plan(2))
    run = eta.Group(1, epochs=3, compiled=0.0)
    run.after_epoch(1, 30.0, 20.0)
    said = run.after_epoch(2, 30.0, 40.0)
    assert said is not None
    assert said.startswith("estimate of what is left of 2 runs of 3 epochs: about 40 s, until ")


def test_runs_that_fall_back_to_the_cpu_are_estimated_by_its_second_epoch() -> None:
    eta.expect(eta.Plan(2))
    eta.Group(1, epochs=5, compiled=0.0).after_epoch(1, 1.0, 0.0)
    run = eta.Group(1, epochs=5, compiled=0.0, same_runs=True)
    assert run.after_epoch(2, 9.0, 0.0) is None
    said = run.after_epoch(3, 5.0, 0.0)
    assert said is not None
    assert said.startswith("estimate of what is left of 2 runs of 5 epochs: about 35 s, until ")
