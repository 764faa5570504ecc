"""A run that was stopped at any moment goes on to the very result that it would have had."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from mdaf.errors import UserError
from mdaf.processes.interruption import EXIT_RESUMABLE
from mdaf.sweeper.job.job import Job
from mdaf.sweeper.job.resuming import lock_step_groups
from mdaf.sweeper.machine.watchdog import Watchdog
from mdaf.sweeper.runs import checkpoint
from mdaf.sweeper.runs.checkpoint import BEFORE, LAST, Position, read
from mdaf.sweeper.runs.folder import RunFolder
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.queries import load_study, trials_of
from mdaf.sweeper.training.loop import Saves
from mdaf.sweeper.training.optim import replica_optimizers
from tests.sweeper.inside import STEPS, assert_same_run, metrics, run, start

EPOCHS = ("training.epochs=3", "training.train_sample=200")
EVERY_STEP = "training.checkpoint_seconds=0"
EVERY_EPOCH = "training.checkpoint_seconds=null"
PEAKED = (*EPOCHS, "training.learning_rate=5e-2")  # its best epoch is the second of three
STUDY = "regularization-mdaf_mamba-synthetic_tiny"


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing is saved on the way out."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory whose run ``whole`` was never stopped."""
    folder = tmp_path_factory.mktemp("work")
    assert run(folder, *EPOCHS, "hydra.run.dir=whole") == 0
    return folder


def kill_at(monkeypatch: pytest.MonkeyPatch, moments: Sequence[tuple[int, int]]) -> None:
    """Ends the loop after (epoch, step), each once."""
    left, step_of = list(moments), Watchdog.step

    def step(self: Watchdog, epoch: int, step: int) -> None:
        if (epoch, step) in left:
            left.remove((epoch, step))
            raise Killed
        step_of(self, epoch, step)

    monkeypatch.setattr(Watchdog, "step", step)


@pytest.mark.parametrize(
    "saved_every_step",
    [pytest.param(True, id="saved every step"), pytest.param(False, id="saved each epoch", marks=pytest.mark.slow)],
)
def test_a_run_killed_within_epochs_ends_as_if_it_had_not_been(
    work: Path, monkeypatch: pytest.MonkeyPatch, saved_every_step: bool
) -> None:
    name = f"killed-{saved_every_step}"
    typed = [*EPOCHS, f"hydra.run.dir={name}", "resume=auto", EVERY_STEP if saved_every_step else EVERY_EPOCH]
    moments = [(1, 3), (2, 1), (2, STEPS), (3, 5)]
    kill_at(monkeypatch, moments)
    for _ in moments:
        with pytest.raises(Killed):
            run(work, *typed)
    for draft in (".last.pt.12", ".last.pt.12.before", ".best.pt.12.link", ".metrics.csv.12"):  # of a SIGKILL
        (work / name / draft).touch()
    assert run(work, *typed) == 0
    assert_same_run(work / name, work / "whole")
    assert not (work / name / BEFORE).exists()
    assert {path.name for path in (work / name).iterdir()} == {path.name for path in (work / "whole").iterdir()}


@pytest.fixture(scope="module")
def peaked(work: Path) -> Path:
    """A run whose best epoch is neither the first nor the last, never stopped."""
    assert run(work, *PEAKED, "hydra.run.dir=peaked") == 0
    assert [row["val_auc"] for row in metrics(work / "peaked")][1] == max(
        row["val_auc"] for row in metrics(work / "peaked")
    )
    return work / "peaked"


def save_after(monkeypatch: pytest.MonkeyPatch, epochs: Sequence[int]) -> None:
    """Lets states be due after these epochs of a process, counted from 1, and never within one."""
    done: dict[int, int] = {}

    def due(self: Saves) -> bool:
        done[id(self)] = done.get(id(self), 0) + 1
        return done[id(self)] in epochs

    monkeypatch.setattr(Saves, "due_after_epoch", due)
    monkeypatch.setattr(Saves, "due_within_epoch", lambda self: False)


@pytest.mark.parametrize(
    ("saved", "goes_on"), [((1,), "epoch 2 after step 0"), ((2,), "epoch 3 after step 0"), ((), None)]
)
def test_epochs_after_the_last_state_are_trained_again(
    work: Path, peaked: Path, monkeypatch: pytest.MonkeyPatch, saved: tuple[int, ...], goes_on: str | None
) -> None:
    folder = work / f"saved-{len(saved)}-{sum(saved)}"
    typed = [*PEAKED, f"hydra.run.dir={folder.name}", "resume=auto"]
    save_after(monkeypatch, saved)
    kill_at(monkeypatch, [(3, 2)])
    with pytest.raises(Killed):
        run(work, *typed)
    assert metrics(folder) == metrics(peaked)[:2]  # of every epoch, whether its state is saved or not
    assert (folder / LAST).exists() == bool(saved)
    assert run(work, *typed) == 0
    said = (folder / "train.log").read_text()
    assert f"going on in {goes_on}" in said if goes_on else "going on" not in said
    assert_same_run(folder, peaked)


def test_the_best_weights_stay_those_of_the_best_epoch_whichever_states_are_there(
    work: Path, peaked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*PEAKED, EVERY_EPOCH, "hydra.run.dir=two-bests", "resume=auto"]
    kill_at(monkeypatch, [(3, 1)])  # both states that are there were the best ones of their time
    with pytest.raises(Killed):
        run(work, *typed)
    assert run(work, *typed) == 0
    assert_same_run(work / "two-bests", peaked)


def test_a_run_killed_between_its_last_state_and_its_best_weights_goes_on_from_the_state_before_each_time(
    work: Path, peaked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*PEAKED, "hydra.run.dir=between", "resume=auto"]

    def killed(*_: object) -> None:
        raise Killed

    for saved_before in (1,), ():
        with monkeypatch.context() as patch:
            save_after(patch, saved_before)
            patch.setattr(RunFolder, "write_checkpoint", killed)  # of the second epoch's weights, after the last state
            with pytest.raises(Killed):
                run(work, *typed)
        assert read(work / "between" / LAST).position == Position(4, 0)
    assert run(work, *typed) == 0
    assert (work / "between/train.log").read_text().count("going on in epoch 2 after step 0") == 2
    assert_same_run(work / "between", peaked)


def test_a_run_that_fails_leaves_its_last_state_the_best_weights_that_it_goes_on_with(
    work: Path, peaked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*PEAKED, "hydra.run.dir=failed", "resume=auto"]
    save_of = checkpoint.save

    def save(folder: Path, content: Any) -> None:
        if content["epoch"] == 3:
            raise OSError(errno.ENOSPC, "room for the weights, not for the state")
        save_of(folder, content)

    steps = iter(range(1, 1 + 3 * STEPS))
    with monkeypatch.context() as patch:
        save_after(patch, [])
        patch.setattr(Saves, "due_within_epoch", lambda self: next(steps) == STEPS + 2)
        patch.setattr(checkpoint, "save", save)
        assert run(work, *typed) == EXIT_RESUMABLE
    assert run(work, *typed) == 0
    assert "going on in epoch 2 after step 2" in (work / "failed/train.log").read_text()
    assert_same_run(work / "failed", peaked)


@pytest.mark.parametrize("moment", ["within the epoch", "between two epochs"])
def test_a_signal_saves_the_state_and_the_best_weights_that_waited_for_it(
    work: Path, peaked: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    name, within = moment.replace(" ", "-"), moment == "within the epoch"
    typed = [*PEAKED, f"hydra.run.dir={name}", "resume=auto"]
    method = "step" if within else "end"
    of = getattr(Watchdog, method)

    def asked(self: Watchdog, epoch: int, *rest: Any) -> None:
        if epoch == (3 if within else 2):
            os.kill(os.getpid(), signal.SIGTERM)
        of(self, epoch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Watchdog, method, asked)
        assert run(work, *typed) == EXIT_RESUMABLE
    assert read(work / name / LAST).position == Position(3, within)
    assert read(work / name / "best.pt").history[-1]["epoch"] == 2 or not within
    assert run(work, *typed) == 0
    assert_same_run(work / name, peaked)


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        ("lazy", ["training.embedding_optimizer=lazy"]),
        pytest.param(
            "decoupled",
            ["training.decay=decoupled", "training.schedule=cosine", "training.warmup_fraction=0.2"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "meda",
            ["regularization.reinit_embeddings=true", "data.bucketing=4", "device.micro_batch=50"],
            marks=pytest.mark.slow,
        ),
        ("plateau", ["training.schedule=plateau", "training.monitor=val_loss", "training.learning_rate=5e-2"]),
        pytest.param("patience", ["training.patience=1", "training.learning_rate=1e-12"], marks=pytest.mark.slow),
        ("deferred", []),
    ],
)
def test_every_kind_of_state_comes_back(
    work: Path, monkeypatch: pytest.MonkeyPatch, config: str, overrides: list[str]
) -> None:
    if config == "deferred":  # tables whose steps are put off until a row is read, as large ones are
        monkeypatch.setattr(replica_optimizers, "DEFERRED_ROWS", 1)
    typed = [*EPOCHS, *overrides]
    assert run(work, *typed, f"hydra.run.dir={config}-whole") == 0
    kill_at(monkeypatch, [(2, 4)])
    with pytest.raises(Killed):
        run(work, *typed, EVERY_STEP, f"hydra.run.dir={config}")
    assert run(work, *typed, EVERY_STEP, f"hydra.run.dir={config}", "resume=auto") == 0
    assert_same_run(work / config, work / f"{config}-whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves_with_a_code_that_says_so(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    name, begin_of = number.name, Watchdog.begin

    def begin(self: Watchdog, epoch: int, step: int) -> None:
        begin_of(self, epoch, step)
        if epoch == 2:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Watchdog, "begin", begin)
        assert run(work, *EPOCHS, f"hydra.run.dir={name}") == EXIT_RESUMABLE
    assert "the same command with resume=auto goes on" in capsys.readouterr().err
    assert read(work / name / LAST).position == Position(2, 1)
    assert not (work / name / "result.json").exists()
    assert run(work, *EPOCHS, f"hydra.run.dir={name}", "resume=auto") == 0
    assert_same_run(work / name, work / "whole")


def test_a_signal_during_the_evaluation_keeps_the_epochs_steps(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        beat = Watchdog.beat
        patch.setattr(Watchdog, "beat", lambda self: (os.kill(os.getpid(), signal.SIGTERM), beat(self)))
        assert run(work, *EPOCHS, "hydra.run.dir=evaluating") == EXIT_RESUMABLE
    assert read(work / "evaluating" / LAST).position == Position(1, STEPS)
    assert run(work, *EPOCHS, "hydra.run.dir=evaluating", "resume=auto") == 0
    assert_same_run(work / "evaluating", work / "whole")


def test_a_damaged_state_is_named_and_the_one_before_it_used(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [*EPOCHS, EVERY_STEP, "hydra.run.dir=damaged"]
    with monkeypatch.context() as patch:
        kill_at(patch, [(2, 5)])
        with pytest.raises(Killed):
            run(work, *typed)
    last = work / "damaged" / LAST
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    assert run(work, *typed, "resume=auto") == 0
    said = capsys.readouterr().err
    assert "found no whole checkpoint" in said
    assert "going on in epoch 2 after step 3" in said
    assert_same_run(work / "damaged", work / "whole")


def test_a_state_that_cannot_be_read_for_a_moment_is_one_line_and_stays(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [*EPOCHS, EVERY_STEP, "hydra.run.dir=unreadable", "resume=auto"]
    with monkeypatch.context() as patch:
        kill_at(patch, [(1, 2)])
        with pytest.raises(Killed):
            run(work, *typed)
    last = work / "unreadable" / LAST
    content = last.read_bytes()

    def refusing(code: int) -> Callable[..., None]:
        def load(path: Path, **_: object) -> None:
            raise OSError(code, os.strerror(code), str(path))

        return load

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", refusing(errno.EACCES))
        assert run(work, *typed) == 2
        for code in (errno.EIO, errno.EMFILE, errno.ESTALE):
            patch.setattr(torch, "load", refusing(code))
            with pytest.raises(UserError, match="cannot be read"):
                read(last)
    assert f"last.pt cannot be read: {os.strerror(errno.EACCES)}; it is left as it is" in capsys.readouterr().err
    assert last.read_bytes() == content


def test_a_finished_run_is_not_repeated_and_leaves_the_same_result(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((work / "whole/result.json").read_text())
    kill_at(monkeypatch, [(epoch, 1) for epoch in (1, 2, 3)])
    assert run(work, *EPOCHS, "hydra.run.dir=whole", "resume=auto") == 0
    assert json.loads((work / "whole/result.json").read_text()) == before


def test_the_same_command_finds_the_newest_run_of_its_own(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, [(2, 4)])
        with pytest.raises(Killed):
            run(work, *EPOCHS, EVERY_STEP)
    assert run(work, *EPOCHS, EVERY_STEP, "seed=1") == 0
    assert run(work, *EPOCHS, EVERY_STEP, "resume=auto") == 0
    found = list((work / "runs/single").glob("*/*"))
    assert len(found) == 2
    [own] = [path for path in found if "seed=1" not in (path / ".hydra/overrides.yaml").read_text()]
    assert_same_run(own, work / "whole")


def test_the_state_of_another_config_is_refused_in_one_line(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = metrics(work / "whole")
    assert run(work, *EPOCHS, "hydra.run.dir=whole", "resume=auto", "regularization.dropout=0.1") == 2
    [said] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "holds the state of a run with config_hash" in said
    assert "resume=never starts anew" in said
    assert metrics(work / "whole") == before


def test_replicas_in_lock_step_go_on_together_at_the_last_state_that_all_have(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ["-m", *EPOCHS, EVERY_STEP, "seed=1,2", "hydra/launcher=replicas"]
    assert run(work, *typed, "hydra.sweep.dir=group-whole") == 0
    from mdaf.sweeper.job.recorder import Recorder

    with monkeypatch.context() as patch:
        save_of = Recorder.save

        def save(self: Recorder, position: Position, *rest: object) -> None:
            if position == Position(2, 5) and self.identity["seed"] == 2:
                raise Killed  # the first replica's state is written, the others' are not
            save_of(self, position, *rest)

        patch.setattr(Recorder, "save", save)
        with pytest.raises(Killed):
            run(work, *typed, "hydra.sweep.dir=group")
    positions = [read(work / f"group/{number}" / LAST).position for number in range(2)]
    assert positions == [Position(2, 5), Position(2, 4)]
    assert run(work, *typed, "hydra.sweep.dir=group", "resume=auto") == 0
    for number in range(2):
        assert_same_run(work / f"group/{number}", work / f"group-whole/{number}")


def test_a_trial_that_is_tried_again_goes_on_where_the_one_before_it_died(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = ["-m", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=1", *EPOCHS, EVERY_STEP]
    typed = [*sweep, "hydra.sweep.dir=sweep", "sweep.storage=sqlite:///killed.db", "resume=auto"]
    assert run(work, *sweep, "hydra.sweep.dir=sweep-whole", "sweep.storage=sqlite:///whole.db") == 0
    kill_at(monkeypatch, [(2, 4)])
    with pytest.raises(Killed):
        run(work, *typed)
    assert run(work, *typed) == 0
    assert "going on in epoch 2 after step 3" in (work / "sweep/1/train.log").read_text()
    assert_same_run(work / "sweep/1", work / "sweep-whole/0")


@pytest.mark.slow
def test_a_trial_that_is_interrupted_again_and_again_goes_on_under_its_name_each_time(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = ["-m", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=1", *EPOCHS, "hydra.sweep.dir=often"]
    typed = [*sweep, "sweep.storage=sqlite:///often.db", "sweep.max_deaths=1", "resume=auto"]
    step_of, left = Watchdog.step, [(1, 4), (2, 2)]

    def step(self: Watchdog, epoch: int, step: int) -> None:
        if (epoch, step) in left:
            left.remove((epoch, step))
            os.kill(os.getpid(), signal.SIGTERM)
        step_of(self, epoch, step)

    def interrupted(self: Job) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Watchdog, "step", step)
    assert run(work, *typed) == EXIT_RESUMABLE
    with monkeypatch.context() as patch:  # before it has taken over the state: the folder is there, and empty
        patch.setattr(Job, "states", interrupted)
        assert run(work, *typed) == 130
    assert run(work, *typed) == EXIT_RESUMABLE
    assert run(work, *typed) == 0
    trials = trials_of(load_study(open_storage(f"sqlite:///{work}/often.db", create=False), STUDY))
    assert [trial.state.name for trial in trials] == ["FAIL", "FAIL", "FAIL", "COMPLETE"]
    assert [trial.user_attrs.get("interruptions") for trial in trials] == [None, 1, 2, 3]
    assert {trial.user_attrs["point"] for trial in trials} == {"weak"}
    assert {str(trial.params) for trial in trials} == {str(trials[0].params)}
    for number, going_on in ((2, "epoch 1 after step 4"), (3, "epoch 2 after step 2")):
        assert f"going on in {going_on}" in (work / f"often/{number}/train.log").read_text()


def test_runs_that_share_no_position_go_on_from_their_own() -> None:
    states = {"a": [(2, 0), (1, 5)], "b": [(3, 0), (2, 0)], "c": [(3, 0)], "d": []}
    at = {name: dict.fromkeys(Position(*p) for p in positions) for name, positions in states.items()}
    assert lock_step_groups(["a", "b"], at.__getitem__) == [(Position(2, 0), ["a", "b"])]  # type: ignore[arg-type]
    assert lock_step_groups(["a", "c"], at.__getitem__) == [(Position(2, 0), ["a"]), (Position(3, 0), ["c"])]  # type: ignore[arg-type]
    assert lock_step_groups(["d"], at.__getitem__) == [(Position(1, 0), ["d"])]  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_killed_at_twenty_random_moments_has_the_metrics_and_weights_of_one_that_was_not(tmp_path: Path) -> None:
    kills = 20
    typed = ("training.epochs=40", "training.train_sample=200", EVERY_STEP)
    whole = start(tmp_path, *typed, "hydra.run.dir=whole")
    whole.join()
    assert whole.exitcode == 0, (tmp_path / "output.txt").read_text()
    moments = random.Random(kills)  # a seed
    killed = 0
    while killed < kills:
        process = start(tmp_path, *typed, "hydra.run.dir=killed", "resume=auto")
        last = tmp_path / "killed" / LAST
        known = last.stat().st_mtime_ns if last.exists() else 0
        # Whatever it was doing: the moment is counted from the first state that this process saves.
        while process.is_alive() and (not last.exists() or last.stat().st_mtime_ns == known):
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.15))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"it was over after {killed} kills"
        killed += 1
    end = start(tmp_path, *typed, "hydra.run.dir=killed", "resume=auto")
    end.join()
    assert end.exitcode == 0, (tmp_path / "output.txt").read_text()
    assert_same_run(tmp_path / "killed", tmp_path / "whole")
    torch.load(tmp_path / "killed" / "best.pt", weights_only=True)
