"""The callback for Lightning: with Lightning itself where it is installed, and with the part of it that is used."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna.trial import TrialState

from mdaf.errors import UserError
from tests.sweeper.sphere import sweep

ABOVE_HALF = "hydra.sweeper.pruner={_target_: optuna.pruners.ThresholdPruner, upper: 0.5}"
TYPED = ("x=interval(-1.0,1.0)", "hydra.sweeper.n_trials=2", ABOVE_HALF)
LOSSES = {0: (0.1, 0.1), 1: (0.9, 0.1)}  # of a trial's epochs


class Strategy:
    """One process: what it says is what all have heard."""

    def broadcast(self, said: Any) -> Any:
        return said


class Fit:
    """The part of a Trainer that the callback uses. ``epochs``: the metrics of each, None where none was validated."""

    is_global_zero, should_stop, enable_validation, strategy = True, False, True, Strategy()

    def __init__(self, epochs: list[dict[str, float] | None], **changed: Any) -> None:
        self.epochs, self.max_epochs = epochs, len(epochs)
        self.callback_metrics: dict[str, float] = {}
        self.__dict__ |= changed

    def run(self, callback: Any) -> None:
        for epoch, metrics in enumerate(self.epochs):
            self.current_epoch = epoch
            callback.on_train_epoch_start(self, None)
            if metrics is not None:
                self.callback_metrics = metrics
                callback.on_validation_end(self, None)
            callback.on_train_epoch_end(self, None)


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def callback_class(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The callback's class, over a base class from a package that has this import name and nothing else in it."""
    name = request.param
    module = ModuleType(name)
    module.Callback = type("Callback", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, name, module)
    ours = f"mdaf.sweeper.callbacks.{name.partition('.')[0]}"
    monkeypatch.delitem(sys.modules, ours, raising=False)
    imported = importlib.import_module(ours)
    monkeypatch.setitem(sys.modules, ours, imported)  # which takes it away again afterwards
    assert issubclass(imported.TrialCallback, module.Callback)  # type: ignore[attr-defined]
    return imported.TrialCallback


def test_each_validated_epoch_is_reported_and_a_hopeless_job_ends(tmp_path: Path, callback_class: Any) -> None:
    def task(cfg: DictConfig) -> float:
        first, last = LOSSES[HydraConfig.get().job.num]
        Fit([{"val/loss": first}, None, {"val/loss": last}]).run(callback_class("val/loss"))
        return last

    complete, pruned = sweep(tmp_path, *TYPED, task=task).study.trials
    assert (complete.state, complete.intermediate_values) == (TrialState.COMPLETE, {0: 0.1, 2: 0.1})
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {0: 0.9})


@pytest.mark.parametrize("changed", [{"max_epochs": 1}, {"should_stop": True}, {"is_global_zero": False}])
def test_nothing_ends_after_the_last_epoch_or_by_a_process_that_does_not_report(
    tmp_path: Path, callback_class: Any, changed: dict[str, Any]
) -> None:
    def task(cfg: DictConfig) -> float:
        Fit([{"val/loss": 0.9}], **{"max_epochs": 5} | changed).run(callback_class("val/loss"))
        return 0.9

    for trial in sweep(tmp_path, *TYPED, task=task).study.trials:
        assert trial.state is TrialState.COMPLETE
        assert trial.intermediate_values == ({} if "is_global_zero" in changed else {0: 0.9})


def test_all_processes_end_where_the_first_one_is_told_to(tmp_path: Path, callback_class: Any) -> None:
    def task(cfg: DictConfig) -> float:
        others = SimpleNamespace(broadcast=lambda said: True)  # what rank 0 has said
        Fit([{"val/loss": 0.1}], max_epochs=5, is_global_zero=False, strategy=others).run(callback_class("val/loss"))
        return 0.1

    with pytest.raises(UserError, match="no trial completed"):
        sweep(tmp_path, *TYPED, task=task)


def test_a_metric_that_is_not_logged_is_one_line_with_those_that_are(tmp_path: Path, callback_class: Any) -> None:
    def task(cfg: DictConfig) -> float:
        Fit([{"val/loss": 0.9, "val/acc": 0.5}]).run(callback_class("val/los"))
        return 0.9

    said = r"^monitor: found val/los, .* expected one of val/acc, val/loss; did you mean val/loss\?"
    with pytest.raises(UserError, match=said):
        sweep(tmp_path, *TYPED, task=task)


def test_outside_a_sweep_nothing_is_reported_and_nothing_is_asked_of_the_metrics(callback_class: Any) -> None:
    Fit([{"other": 0.9}]).run(callback_class("val/loss"))


@pytest.mark.slow
@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_a_real_trainer_reports_and_is_pruned(tmp_path: Path, package: str) -> None:
    pl = pytest.importorskip(package, reason=f"{package} is not installed")
    import torch

    callback = importlib.import_module(f"mdaf.sweeper.callbacks.{package.partition('.')[0]}").TrialCallback

    class Line(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self, loss: float) -> None:
            super().__init__()
            self.weight, self.loss = torch.nn.Parameter(torch.zeros(1)), loss

        def training_step(self, batch: Any, _: int) -> Any:
            return (self.weight * batch[0] - 1).pow(2).mean()

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("val/loss", torch.tensor(self.loss))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def task(cfg: DictConfig) -> float:
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 1)))
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(max_epochs=3, accelerator="cpu", callbacks=[callback("val/loss")], **quiet)
        trainer.fit(Line(LOSSES[HydraConfig.get().job.num][0]), loader, loader)
        return float(trainer.callback_metrics["val/loss"])

    complete, pruned = sweep(tmp_path, *TYPED, task=task).study.trials
    assert complete.state is TrialState.COMPLETE
    assert complete.intermediate_values == pytest.approx({0: 0.1, 1: 0.1, 2: 0.1})
    assert (pruned.state, list(pruned.intermediate_values)) == (TrialState.PRUNED, [0])
