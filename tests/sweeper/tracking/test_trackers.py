"""What trackers show of runs, sweeps and runs that went on, read back with the trackers' own libraries."""

from __future__ import annotations

import logging
import math
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdaf.sweeper.job.recorder import Recorder
from mdaf.sweeper.tracking import mlflow_runs, tracked_run
from mdaf.sweeper.tracking.tracker import Told
from tests.sweeper.inside import metrics, run

SECRET = "hush-hush"
ARTIFACTS = "tracker.artifacts=[summary,metrics]"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What MLflow asks of whoever uses its file store, and nothing of this machine's settings."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")


def curve(folder: Path, name: str) -> dict[int, float]:
    """The curve that metrics.csv holds."""
    return {int(row["epoch"]): float(row[name]) for row in metrics(folder)}


# ---- TensorBoard


def events(folder: Path) -> Any:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no TensorBoard")
    found = module.EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_has_each_epoch_once_after_a_run_was_interrupted_and_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ("tracker=tensorboard", ARTIFACTS, "hydra.run.dir=r", "training.epochs=3", "resume=auto")
    interrupt_after_epoch(2, monkeypatch)
    assert run(tmp_path, *typed) == 75
    monkeypatch.undo()
    assert run(tmp_path, *typed) == 0
    found = events(tmp_path / "r/tensorboard")
    for name in ("val_auc", "train_loss"):
        points = [(event.step, event.value) for event in found.Scalars(name)]
        assert [step for step, _ in points] == [1, 2, 3]
        assert [value for _, value in points] == pytest.approx(list(curve(tmp_path / "r", name).values()), rel=1e-6)
    states = [event.tensor_proto.string_val[0] for event in found.Tensors("state/text_summary")]
    assert states == [b"interrupted", b"complete"]
    assert b"training.learning_rate: 0.005" in found.Tensors("config/text_summary")[0].tensor_proto.string_val[0]
    assert found.Scalars("best/val_auc")[0].value == pytest.approx(max(curve(tmp_path / "r", "val_auc").values()))


def interrupt_after_epoch(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from mdaf.processes import signals

    original = Recorder.epoch

    def epoch_and_signal(self: Recorder, row: Any, *rest: Any, **named: Any) -> bool:
        stops = original(self, row, *rest, **named)
        if row["epoch"] == epoch:
            signals.hang_up()
        return stops

    monkeypatch.setattr(Recorder, "epoch", epoch_and_signal)


# ---- MLflow


def client(folder: Path) -> Any:
    return pytest.importorskip("mlflow", reason="no MLflow").MlflowClient(tracking_uri=(folder / "kept").as_uri())


@pytest.mark.usefixtures("offline")
def test_mlflow_has_a_sweeps_runs_nested_in_one_run_with_their_curves_parameters_and_artifacts(tmp_path: Path) -> None:
    mlflow = client(tmp_path)
    sweep = ("-m", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=2", "hydra.sweeper.study_name=s")
    tracker = ("tracker=mlflow", f"tracker.uri={(tmp_path / 'kept').as_uri()}", "tracker.project=p", ARTIFACTS)
    assert run(tmp_path, *sweep, *tracker, "training.epochs=1") == 0
    experiment = mlflow.get_experiment_by_name("p").experiment_id
    runs = {one.info.run_name: one for one in mlflow.search_runs([experiment])}
    assert set(runs) == {"s", "s/0", "s/1"}
    assert runs["s"].info.status == "FINISHED"
    assert runs["s"].info.end_time >= runs["s/1"].info.end_time
    for number in (0, 1):
        found, folder = runs[f"s/{number}"], tmp_path / f"runs/studies/s/{number}"
        assert found.data.tags["mlflow.parentRunId"] == runs["s"].info.run_id
        assert (found.info.status, found.data.tags["mdaf.state"]) == ("FINISHED", "complete")
        assert (found.data.tags["study"], found.data.tags["trial"]) == ("s", str(number))
        points = mlflow.get_metric_history(found.info.run_id, "val_auc")
        assert {point.step: point.value for point in points} == pytest.approx(curve(folder, "val_auc"))
        assert found.data.params["training.learning_rate"] == "0.005"
        assert {file.path for file in mlflow.list_artifacts(found.info.run_id)} == {"summary.txt", "metrics.csv"}
    assert runs["s/0"].data.params["regularization.dropout"] != runs["s/1"].data.params["regularization.dropout"]


@pytest.mark.usefixtures("offline")
def test_the_run_of_a_sweep_at_mlflow_is_running_while_one_of_its_runs_is(tmp_path: Path) -> None:
    mlflow = client(tmp_path)
    told = Told("s/0", tmp_path, "p", (tmp_path / "kept").as_uri(), {}, {}, "s", tmp_path)
    parent = mlflow_runs.parent_of(told)
    for _ in range(2):
        one = mlflow_runs.MLflowRun()
        one.begin(told, None, parent)
        assert mlflow.get_run(parent).info.status == "RUNNING"
        one.end("complete", {}, {})
        assert mlflow.get_run(parent).info.status == "FINISHED"


# ---- Weights & Biases, and Aim: by the interface of their modules


class Wandb(types.ModuleType):
    """As much of ``wandb`` as a run uses."""

    class Settings(dict):  # type: ignore[type-arg]
        pass

    class Artifact:
        def __init__(self, name: str, type: str) -> None:
            self.files: list[str] = []

        def add_file(self, path: str) -> None:
            self.files.append(Path(path).name)

    class Run:
        def __init__(self, **given: Any) -> None:
            self.given, self.id = given, given["id"] or f"id{given['name'][-1]}"
            self.logged: list[tuple[int, dict[str, float]]] = []
            self.summary: dict[str, Any] = {}
            self.artifacts: list[Any] = []
            self.code: int | None = None

        def log(self, row: dict[str, float], step: int) -> None:
            self.logged.append((step, row))

        def log_artifact(self, artifact: Any) -> None:
            self.artifacts.append(artifact)

        def finish(self, exit_code: int) -> None:
            self.code = exit_code

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = types.SimpleNamespace(name="wandb")  # type: ignore[assignment]
        self.runs: list[Any] = []

    def init(self, **given: Any) -> Any:
        self.runs.append(self.Run(**given))
        return self.runs[-1]


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    fake = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_replicas_in_lock_step_have_a_wandb_run_each_in_the_group_of_their_sweep(tmp_path: Path, wandb: Wandb) -> None:
    typed = ("-m", "seed=1,2", "hydra/launcher=replicas", "hydra.sweep.dir=grid", "tracker=wandb", ARTIFACTS)
    assert run(tmp_path, *typed) == 0
    assert [one.given["name"] for one in wandb.runs] == ["grid/0", "grid/1"]
    for number, one in enumerate(wandb.runs):
        assert (one.given["group"], one.given["reinit"], one.given["id"]) == ("grid", "create_new", None)
        values = {step: row["val_auc"] for step, row in one.logged}
        assert values == pytest.approx(curve(tmp_path / f"grid/{number}", "val_auc"))
        assert one.given["config"]["seed"] in (number + 1, str(number + 1))
        assert (one.code, one.summary["state"], one.artifacts[0].files) == (
            0,
            "complete",
            ["summary.txt", "metrics.csv"],
        )


class Aim(types.ModuleType):
    """As much of ``aim`` as a run uses."""

    def __init__(self) -> None:
        super().__init__("aim")
        self.__spec__ = types.SimpleNamespace(name="aim")  # type: ignore[assignment]
        self.runs: list[Any] = []
        outer = self

        class Run(dict):  # type: ignore[type-arg]
            def __init__(self, run_hash: str | None, **given: Any) -> None:
                super().__init__()
                self.given, self.hash, self.name, self.open = given, run_hash or "abc123", "", True
                self.tracked: list[tuple[str, int]] = []
                outer.runs.append(self)

            def track(self, value: float, name: str, step: int, epoch: int) -> None:
                assert math.isfinite(value)
                self.tracked.append((name, step))

            def close(self) -> None:
                self.open = False

        self.Run = Run


def test_an_aim_run_that_failed_is_marked_and_goes_on_as_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aim = Aim()
    monkeypatch.setitem(sys.modules, "aim", aim)
    original = Recorder.epoch

    def fails_in_the_second(self: Recorder, row: Any, *rest: Any, **named: Any) -> bool:
        if row["epoch"] == 2:
            raise RuntimeError("out of luck")
        return original(self, row, *rest, **named)

    typed = ("tracker=aim", "tracker.uri=repository", "hydra.run.dir=r", "resume=auto")
    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "epoch", fails_in_the_second)
        with pytest.raises(RuntimeError, match="out of luck"):
            run(tmp_path, *typed)
    assert run(tmp_path, *typed) == 0
    first, second = aim.runs
    assert (first["state"], second["state"], first.open, second.open) == ("failed", "complete", False, False)
    assert (second.hash, first.given["repo"], first.given["experiment"]) == (first.hash, "repository", "mdaf")
    assert [step for name, step in first.tracked + second.tracked if name == "val_auc"] == [1, 2]
    assert second["report"] == (tmp_path / "r/summary.txt").read_text()
    assert "hparams" in first
    assert "hparams" not in second


# ---- whatever fails


def test_a_tracker_that_fails_is_one_warning_and_the_run_is_as_it_would_have_been(
    tmp_path: Path, wandb: Wandb, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError(f"https://user:{SECRET}@host/ is not there\nnor elsewhere")

    monkeypatch.setattr(Wandb.Run, "log", refuse)
    with caplog.at_level(logging.WARNING):
        assert run(tmp_path, "tracker=wandb", "hydra.run.dir=r") == 0
    log = (tmp_path / "r/train.log").read_text()
    assert (
        log.count("tracker=wandb: https://user:***@host/ is not there nor elsewhere; the run goes on without it") == 1
    )
    assert SECRET not in log
    assert run(tmp_path, "hydra.run.dir=plain") == 0
    assert metrics(tmp_path / "r") == metrics(tmp_path / "plain")


def test_the_fault_of_a_tracker_is_shown_once_for_a_grid_and_stands_in_the_log_of_each_run(
    tmp_path: Path, wandb: Wandb, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(Wandb.Run, "log", refuse)
    assert run(tmp_path, "-m", "seed=1,2", "tracker=wandb", "hydra.sweep.dir=grid") == 0
    fault = "tracker=wandb: nobody there; the run goes on without it"
    assert capsys.readouterr().err.count(fault) == 1
    assert [log.read_text().count(fault) for log in sorted(tmp_path.glob("grid/*/train.log"))] == [1, 1]


def test_a_tracker_that_hangs_is_waited_for_once_in_a_process(
    tmp_path: Path, wandb: Wandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(tracked_run, "CALL_SECONDS", 0.2)
    monkeypatch.setattr(tracked_run, "_hanging", set())
    monkeypatch.setattr(Wandb.Run, "log", lambda *_, **__: never.wait())
    typed = ("-m", "seed=1,2", "hydra/launcher=replicas", "hydra.sweep.dir=grid", "training.epochs=1")
    assert run(tmp_path, *typed, "tracker=wandb") == 0
    never.set()
    logs = "".join((tmp_path / f"grid/{number}/train.log").read_text() for number in (0, 1))
    assert logs.count("tracker=wandb: no answer within 0.2 s; this process goes on without it") == 1


def test_a_tracker_gets_no_password_and_no_alert(tmp_path: Path, wandb: Wandb) -> None:
    hidden = (f"sweep.storage=postgresql://me:{SECRET}@host/db", f"alert.webhook=http://localhost:1/{SECRET}")
    typed = ("tracker=wandb", "hydra.run.dir=r", "training.epochs=1", "alert.on=[failing]")
    assert run(tmp_path, *typed, *hidden) == 0
    [found] = wandb.runs
    assert SECRET not in repr(found.given)
    assert not [name for name in found.given["config"] if name.startswith(("alert.", "tracker."))]


def test_a_library_that_is_not_installed_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = __import__("importlib.util", fromlist=["find_spec"]).find_spec
    monkeypatch.setattr("mdaf.extras.find_spec", lambda name, *rest: None if name == "aim" else real(name, *rest))
    assert run(tmp_path, "tracker=aim", "hydra.run.dir=r", "training.epochs=1") == 0
    assert "tracker=aim: needs aim, which isn't installed: " in (tmp_path / "r/train.log").read_text()


def test_an_artifact_that_does_not_exist_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "tracker=tensorboard", "tracker.artifacts=[sumary]") == 2
    assert (
        "tracker.artifacts: found sumary, expected one or more of summary, metrics, checkpoint"
        in capsys.readouterr().err
    )


@pytest.fixture(autouse=True)
def _no_library_stays_half_imported() -> Iterator[None]:
    yield
    for name in ("wandb", "aim"):
        assert not isinstance(sys.modules.get(name), Wandb | Aim)
