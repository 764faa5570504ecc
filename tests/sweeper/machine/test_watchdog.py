"""The watch: slow-downs are noticed within one patience and acted on, standstill ends the process."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mdaf.conf.schema import Guard
from mdaf.processes.interruption import EXIT_HUNG, EXIT_RESUMABLE, Interrupted, Interruption
from mdaf.sweeper.machine.hang_watch import HangWatch
from mdaf.sweeper.machine.steadiness import judge_steadiness
from mdaf.sweeper.machine.telemetry import resident_mb, situation
from mdaf.sweeper.machine.watchdog import SlowDownDetector, TooSlowError, Watchdog
from mdaf.sweeper.training.stepping.step import Stepper
from tests.sweeper.inside import STEPS, assert_same_run, run, start

TYPED = ("training.epochs=3", "training.train_sample=200", "device.guard.patience=2")


# ---- the baseline


def pace_after(first: list[float], *, factor: float = 3, patience: float = 10) -> SlowDownDetector:
    pace = SlowDownDetector(factor, patience)
    for seconds in first:
        assert pace.add(seconds, whole=True) is None
    pace.settle(0.0)
    return pace


def noticed(pace: SlowDownDetector, seconds: list[float]) -> float | None:
    """The time from the first of these steps to the one at which they were called slow."""
    for number, step in enumerate(seconds, 1):
        if pace.add(step, whole=True) is not None:
            return sum(seconds[:number])
    return None


def test_neither_compilation_nor_a_pause_shows_in_the_baseline() -> None:
    assert pace_after([60.0, *[0.1] * 99]).baseline == pytest.approx(0.1)
    assert pace_after([*[0.1] * 50, 30.0, *[0.1] * 49]).baseline == pytest.approx(0.1)


def test_a_queue_that_is_waited_for_now_and_then_counts_by_its_mean() -> None:
    asynchronous = [0.0, 0.0, 0.0, 0.4] * 100
    pace = pace_after(asynchronous)
    assert pace.baseline == pytest.approx(0.1)
    assert noticed(pace, asynchronous) is None
    assert noticed(pace, [0.0, 0.0, 0.0, 2.0] * 100) is not None


@pytest.mark.parametrize("times", [3.5, 5, 50, 1000])
def test_a_slow_down_beyond_the_factor_is_noticed_within_one_patience_and_three_steps(times: float) -> None:
    pace = pace_after([0.1] * 100)
    assert noticed(pace, [0.1] * 300) is None
    found = noticed(pace, [0.1 * times] * 500)
    assert found is not None
    assert found <= max(10, 3 * 0.1 * times) + 0.1 * times


@pytest.mark.parametrize(
    "steps",
    [[0.25] * 400, [*[0.1] * 100, 60.0, *[0.1] * 100], [0.05, 0.15] * 400, [0.5, *[0.1] * 9] * 40],
    ids=["within the factor", "one pause", "uneven", "short ones in a row"],
)
def test_what_is_no_slow_down_is_not_called_one(steps: list[float]) -> None:
    assert noticed(pace_after([0.1] * 100), steps) is None


def test_an_epoch_that_is_seen_in_part_gives_no_baseline() -> None:
    pace = SlowDownDetector(3, 10)
    for _ in range(100):
        pace.add(0.1, whole=False)
    pace.settle(0.0)
    assert pace.baseline is None


def test_a_slow_down_is_told_once_and_again_after_a_recovery(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    told: list[dict[str, Any]] = []
    guard = Guard(3, 1, "warn", None)
    watchdog = Watchdog(Interruption(), guard, HangWatch(None, tmp_path), torch.device("cpu"), told.append)
    for epoch, step_seconds in enumerate([0.1, 0.5, 0.1, 0.5], 1):
        watchdog.begin(epoch, 0)
        for step in range(1, 51):
            clock[0] += step_seconds
            watchdog.step(epoch, step)
        watchdog.end(epoch, 100.0)
    assert [(slow["epoch"], slow["what"], slow["times"]) for slow in told] == [(2, "steps", 5.0), (4, "steps", 5.0)]
    assert {"device", "resident_mb"} <= set(told[0])


def test_an_evaluation_that_takes_much_longer_than_the_first_is_a_slow_down_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    told: list[dict[str, Any]] = []
    guard = Guard(3, 1, "stop", None)
    watchdog = Watchdog(Interruption(), guard, HangWatch(None, tmp_path), torch.device("cpu"), told.append)
    for epoch, seconds in enumerate([1.0, 2.9, 3.1], 1):
        watchdog.begin(epoch, 0)
        watchdog.step(epoch, 1)
        clock[0] += seconds
        if epoch < 3:
            watchdog.end(epoch, 1.0)
    with pytest.raises(TooSlowError, match=r"evaluation take 3\.1 times"):
        watchdog.end(3, 1.0)
    assert told[0]["action"] == "stop"


def test_what_is_known_of_the_machine_is_plain_and_never_fails() -> None:
    known = situation(torch.device("cpu"))
    assert json.loads(json.dumps(known)) == known
    assert known["resident_mb"] == pytest.approx(resident_mb(), rel=0.2)


# ---- in a run


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory whose run ``whole`` nothing disturbed."""
    folder = tmp_path_factory.mktemp("work")
    assert run(folder, *TYPED, "hydra.run.dir=whole") == 0
    return folder


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take 0.1 s by the watch's clock, and five times as long from the second epoch on."""
    clock, step_of = [0.0], Stepper.step

    def step(self: Stepper, chosen: torch.Tensor, number: int, longest: int) -> Any:
        clock[0] += 0.1 if number < STEPS else 0.5
        return step_of(self, chosen, number, longest)

    monkeypatch.setattr(Stepper, "step", step)

    def now() -> float:
        clock[0] += 1e-9  # there are others who divide by what passed
        return clock[0]

    monkeypatch.setattr("mdaf.sweeper.machine.watchdog.time.perf_counter", now)


@pytest.mark.usefixtures("slow")
def test_a_slow_down_is_warned_of_within_one_patience_and_recorded_in_the_result(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(work, *TYPED, "hydra.run.dir=warned") == 0
    [slow_down] = json.loads((work / "warned/result.json").read_text())["slow_downs"]
    assert (slow_down["epoch"], slow_down["step"], slow_down["times"]) == (2, 4, 5.0)  # 4 steps of 0.5 s: one patience
    assert "steps take 5.0 times as long as in the first full epoch" in capsys.readouterr().err
    assert "UNSTABLE" in (work / "warned/summary.txt").read_text()
    assert_same_run(work / "warned", work / "whole")


@pytest.mark.usefixtures("slow")
def test_falling_back_to_the_cpu_goes_on_in_the_same_run_with_the_same_result(work: Path) -> None:
    assert run(work, *TYPED, "hydra.run.dir=fallen", "device.guard.action=fallback_cpu") == 0
    assert_same_run(work / "fallen", work / "whole")
    log = (work / "fallen/train.log").read_text()
    assert "going on in epoch 2 after step 4" in log
    result = json.loads((work / "fallen/result.json").read_text())
    assert ", then cpu" in result["device"]
    assert [slow_down["action"] for slow_down in result["slow_downs"]] == ["fallback_cpu"]


@pytest.mark.slow
@pytest.mark.usefixtures("slow")
def test_a_group_falls_back_together(work: Path) -> None:
    typed = ["-m", *TYPED, "seed=1,2", "hydra/launcher=replicas"]
    assert run(work, *typed, "hydra.sweep.dir=group") == 0
    assert run(work, *typed, "hydra.sweep.dir=group-fallen", "device.guard.action=fallback_cpu") == 0
    for number in range(2):
        assert_same_run(work / f"group-fallen/{number}", work / f"group/{number}")


@pytest.mark.usefixtures("slow")
def test_stopping_saves_and_says_how_to_go_on(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(work, *TYPED, "hydra.run.dir=stopped", "device.guard.action=stop") == EXIT_RESUMABLE
    [said] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "device.guard.action=stop: the state is saved, the same command with resume=auto goes on" in said
    assert run(work, *TYPED, "hydra.run.dir=stopped", "device.guard.action=warn", "resume=auto") == 0
    assert_same_run(work / "stopped", work / "whole")


def hang_in_the_second_epoch() -> None:
    step_of = Stepper.step

    def stand_still(self: Stepper, chosen: torch.Tensor, number: int, longest: int) -> Any:
        while number == STEPS + 2:
            time.sleep(60)
        return step_of(self, chosen, number, longest)

    Stepper.step = stand_still  # type: ignore[method-assign]


def test_a_hung_step_leaves_the_stacks_and_its_exit_code_and_the_run_goes_on(work: Path) -> None:
    typed = [*TYPED, "hydra.run.dir=hung", "device.guard.hang=2", "training.checkpoint_seconds=0"]
    hung = start(work, *typed, sabotage=hang_in_the_second_epoch)
    hung.join()
    assert hung.exitcode == EXIT_HUNG, (work / "output.txt").read_text()
    assert "in stand_still" in (work / "hung/hang.txt").read_text()
    assert "no batch for 2 s (device.guard.hang=2)" in (work / "hung/train.log").read_text()
    assert run(work, *typed, "resume=auto") == 0
    assert_same_run(work / "hung", work / "whole")


# ---- standstill and signals


def test_a_clock_that_jumps_or_a_process_that_was_stopped_is_no_standstill(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended, looks = [], threading.Event()
    watch = HangWatch(1.0, tmp_path)
    monkeypatch.setattr(watch, "_end", ended.append)
    clock = iter([*(3600.0 * n for n in range(4))])

    def jump() -> float:
        if (now := next(clock, None)) is None:
            looks.set()
            return 4 * 3600.0
        return now

    with monkeypatch.context() as patch:
        patch.setattr("mdaf.sweeper.machine.hang_watch.time.monotonic", jump)
        with watch:
            assert looks.wait(10)
    assert ended == []


def test_a_second_signal_does_not_wait() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        interruption.check()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted, match="SIGTERM"):
            interruption.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


# ---- the verdict


def test_a_machine_is_judged_by_its_steps_its_slow_downs_and_its_memory() -> None:
    def verdict(times: list[float], slow_downs: int = 0, memory: tuple[float, ...] = ()) -> str:
        history = [{"batch_ms_p50": time_} for time_ in times]
        return judge_steadiness(history, [{}] * slow_downs, memory).partition(":")[0]

    assert verdict([10.0]) == "PENDING"
    assert verdict([10.0, 11.0, 12.0], memory=(900, 1000, 1010)) == "STABLE"
    assert verdict([10.0, 16.0, 12.0]) == "UNSTABLE"
    assert verdict([10.0, 11.0], slow_downs=1) == "UNSTABLE"
    assert verdict([10.0, 11.0, 11.0], memory=(900, 1000, 1100)) == "UNSTABLE"


def test_the_infrastructure_check_ends_with_its_verdict(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = ["experiment=infrastructure_check", "training.steps_per_epoch=2", "hydra.run.dir=check"]
    assert run(work, *check, "training.epochs=3", "training.train_sample=200") == 0
    assert "the machine: " in capsys.readouterr().err
    result = json.loads((work / "check/result.json").read_text())
    assert result["steadiness"].partition(":")[0] in ("STABLE", "UNSTABLE")
    assert result["epochs"] == 3


def test_a_grid_of_runs_says_after_its_second_epoch_how_long_the_rest_takes(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["-m", *TYPED, "training.epochs=2", "training.steps_per_epoch=1", "seed=1,2", "hydra.sweep.dir=grid"]
    assert run(work, *typed) == 0
    said = capsys.readouterr().err
    assert said.count("estimate of") == 1
    first, second = said.index("epoch 1/2"), said.index("epoch 2/2")
    assert first < second < said.index("estimate of what is left of 2 runs of 2 epochs: about ")
