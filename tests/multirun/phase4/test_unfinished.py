"""What an interrupted Phase 4 left within its runs: the same command goes on with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mdaf import conf
from mdaf.multirun.phase4 import plan
from mdaf.multirun.phase4.plan import Series
from mdaf.multirun.phase4.points import Point
from mdaf.processes.children import Child
from mdaf.processes.interruption import EXIT_RESUMABLE
from mdaf.sweeper.machine.watchdog import Watchdog
from mdaf.sweeper.runs.checkpoint import LAST
from tests.sweeper.inside import TINIER, assert_same_run, run


class Killed(BaseException):
    """Ends a run as SIGKILL does."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which Phase 4 finished one seed of a point without being disturbed."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        here(folder, patch)
        plan.run_missing([Series(point("whole"), missing=[42])], [folder / "whole"])
    return folder


def point(name: str) -> Point:
    return Point(name, (*TINIER, "training.train_sample=200", "training.checkpoint_seconds=0"), Path(name))


def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phase 4 in ``folder``, whose commands are run in this process."""
    conf.register()
    monkeypatch.chdir(folder)

    def started(command: list[str]) -> Any:
        code = run(folder, *command[3:], tiny=())
        return Child(["sh", "-c", f"exit {code}"])

    monkeypatch.setattr(plan, "start", started)


def interrupted(monkeypatch: pytest.MonkeyPatch, one: Point) -> None:
    """Kills Phase 4 in the second epoch of seed 42 of a point."""
    step_of = Watchdog.step

    def step(self: Watchdog, epoch: int, step: int) -> None:
        if (epoch, step) == (2, 4):
            raise Killed
        step_of(self, epoch, step)

    with monkeypatch.context() as patch:
        patch.setattr(Watchdog, "step", step)
        with pytest.raises(Killed):
            plan.run_missing([Series(one, missing=[42])], [one.folder])


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here(work, monkeypatch)
    again = Series(point("again"), missing=[42])
    interrupted(monkeypatch, again.point)
    plan.run_missing([again], [again.point.folder])
    assert "going on in epoch 2 after step 3" in (work / "again/seed-42/train.log").read_text()
    assert_same_run(work / "again/seed-42", work / "whole/seed-42")


def test_a_run_that_was_interrupted_before_its_first_state_begins_anew_without_a_warning(
    work: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here(work, monkeypatch)
    one = point("early")
    one = replace(
        one, overrides=tuple(key.replace("checkpoint_seconds=0", "checkpoint_seconds=60") for key in one.overrides)
    )
    interrupted(monkeypatch, one)
    assert {path.name for path in (work / "early/seed-42").iterdir()} >= {"metrics.csv"}
    plan.run_missing([Series(one, missing=[42])], [one.folder])
    assert not [record.getMessage() for record in caplog.records if "taken away" in record.getMessage()]
    assert_same_run(work / "early/seed-42", work / "whole/seed-42")


@pytest.mark.slow
def test_what_another_configuration_left_in_the_folder_is_not_gone_on_with(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(work, monkeypatch)
    one = point("other")
    interrupted(monkeypatch, replace(one, overrides=(*one.overrides, "regularization.dropout=0.1")))
    assert (work / "other/seed-42" / LAST).exists()
    plan.run_missing([Series(one, missing=[42])], [one.folder])
    assert_same_run(work / "other/seed-42", work / "whole/seed-42")


def test_a_run_whose_best_weights_are_gone_is_repeated(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here(work, monkeypatch)
    lost = Series(point("lost"), missing=[42])
    plan.run_missing([lost], [lost.point.folder])
    (work / "lost/seed-42/best.pt").unlink()
    plan.run_missing([Series(lost.point, missing=[42])], [lost.point.folder])
    assert_same_run(work / "lost/seed-42", work / "whole/seed-42")
    assert json.loads((work / "lost/seed-42/result.json").read_text())["state"] == "complete"


@pytest.mark.parametrize("code", [EXIT_RESUMABLE, 130])
def test_a_signal_to_a_run_ends_phase_4(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(plan, "start", lambda command: Child(["sh", "-c", f"exit {code}"]))
    with pytest.raises(KeyboardInterrupt):
        plan.launch(["seed=42"], Path("nowhere"))
