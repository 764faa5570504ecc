"""A model from outside the package, through the command: only if it is allowed, then with all that it holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.model.all_layers import AllLayers
from tests.model.samples import SCHEMA
from tests.sweeper.inside import assert_same_run, metrics, run
from tests.sweeper.job.test_resuming import Killed, kill_at

NAME = "tests.model.all_layers.AllLayers"
TINY = ("data=synthetic_tiny", "data.train_rows=600", "data.validation_rows=200", "device=cpu", "training.epochs=2")
TINY += ("training.batch_size=100", "training.train_sample=200", "training.learning_rate=1e-2", "model=all_layers")
SEEDS = (1, 2)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with ``own/model/all_layers.yaml``, two seeds trained in lock-step, and one alone."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "own/model").mkdir(parents=True)
    (folder / "own/model/all_layers.yaml").write_text(f"defaults: [_common, _self_]\n_target_: {NAME}\nwidth: 4\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mdaf.naming.allowed.STARTED_WITH", NAME)
        assert (
            train(
                folder, "-m", "hydra/launcher=replicas", f"seed={','.join(map(str, SEEDS))}", "hydra.sweep.dir=together"
            )
            == 0
        )
        assert train(folder, "seed=2", "hydra.run.dir=alone") == 0
    return folder


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdaf.naming.allowed.STARTED_WITH", NAME)


def train(folder: Path, *typed: str) -> int:
    return run(folder, "--config-dir", "own", *typed, tiny=TINY)


def test_a_replica_in_lock_step_is_its_solo_run_and_its_checkpoint_holds_every_parameter_and_buffer(work: Path) -> None:
    for together, alone in zip(metrics(work / "together/1"), metrics(work / "alone"), strict=True):
        for column, value in alone.items():
            assert not value or float(together[column]) == pytest.approx(float(value), rel=1e-3, abs=1e-4), column
    ours, theirs = (torch.load(work / name / "best.pt", weights_only=True) for name in ("together/1", "alone"))
    for name, tensor in theirs["weights"].items():
        torch.testing.assert_close(ours["weights"][name], tensor, rtol=1e-3, atol=1e-4)
    names = {name.removeprefix("module.") for name in theirs["weights"] if "tables" not in name}
    assert names == {name for name in AllLayers(SCHEMA).state_dict() if "tables" not in name} - {"tied.weight"}
    assert theirs["weights"]["module.seen"] == theirs["weights"]["module.norm.num_batches_tracked"]
    assert theirs["weights"]["module.seen"] == 6 * theirs["epoch"]
    assert metrics(work / "together/0") != metrics(work / "together/1")


@pytest.mark.usefixtures("allowed")
def test_a_run_killed_within_an_epoch_goes_on_to_the_same_weights_and_buffers(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ("seed=2", "hydra.run.dir=killed", "resume=auto", "training.checkpoint_seconds=0")
    kill_at(monkeypatch, [(1, 4), (2, 2)])
    for _ in range(2):
        with pytest.raises(Killed):
            train(work, *typed)
    assert train(work, *typed) == 0
    assert_same_run(work / "killed", work / "alone")


@pytest.mark.usefixtures("allowed")
def test_batches_of_a_plain_module_are_not_cut(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert train(work, "device.micro_batch=50", "hydra.run.dir=cut") == 2
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: device.micro_batch=50: this model learns otherwise from a batch in pieces")
    assert not (work / "cut/metrics.csv").exists()


def test_without_permission_it_is_one_line_and_nothing_is_imported(
    work: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "intruder.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(work)
    for key in ("model", "data"):
        capfd.readouterr()
        assert run(work, f"{key}._target_=intruder.Mine", "hydra.run.dir=refused") == 2
        [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert line == (
            f"error: {key}._target_: intruder.Mine is not on the list of what a config may name; if you trust that "
            "code, type export MDAF_ALLOW=intruder.Mine and then the same command"
        )
