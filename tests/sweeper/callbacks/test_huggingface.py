"""The callback for Hugging Face: with transformers where it is installed, and with what is used of it."""

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
from tests.sweeper.callbacks.test_lightning import LOSSES, TYPED
from tests.sweeper.sphere import sweep

OURS = "mdaf.sweeper.callbacks.huggingface"


@pytest.fixture
def callback_class(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The callback's class, over a base class from a package that has nothing else in it."""
    module = ModuleType("transformers")
    module.TrainerCallback = type("TrainerCallback", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    monkeypatch.delitem(sys.modules, OURS, raising=False)
    imported = importlib.import_module(OURS)
    monkeypatch.setitem(sys.modules, OURS, imported)  # which takes it away again afterwards
    return imported.TrialCallback


def train(callback: Any, losses: tuple[float, ...], *, strategy: str = "epoch", first: bool = True) -> None:
    """What a Trainer does: an evaluation every 10 steps, which are an epoch, and one of its own after training."""
    args = SimpleNamespace(eval_strategy=strategy, metric_for_best_model=None)
    control = SimpleNamespace(should_training_stop=False)
    state = SimpleNamespace(max_steps=10 * len(losses), is_world_process_zero=first, epoch=0.0, global_step=0)
    callback.on_train_begin(args, state, control)
    for loss in losses:
        state.epoch, state.global_step = state.epoch + 1.0, state.global_step + 10
        callback.on_evaluate(args, state, control, metrics={"eval_loss": loss, "epoch": state.epoch})
    callback.on_train_end(args, state, control)
    callback.on_evaluate(args, state, control, metrics={"eval_loss": 7.0, "epoch": state.epoch})


@pytest.mark.parametrize(("strategy", "at"), [("epoch", (1, 2)), ("steps", (10, 20))])
def test_each_evaluation_is_reported_and_a_hopeless_job_ends(
    tmp_path: Path, callback_class: Any, strategy: str, at: tuple[int, int]
) -> None:
    def task(cfg: DictConfig) -> float:
        losses = LOSSES[HydraConfig.get().job.num]
        train(callback_class(), losses, strategy=strategy)
        return losses[-1]

    complete, pruned = sweep(tmp_path, *TYPED, task=task).study.trials
    assert (complete.state, complete.intermediate_values) == (TrialState.COMPLETE, dict.fromkeys(at, 0.1))
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {at[0]: 0.9})


def test_another_process_than_the_first_reports_nothing(tmp_path: Path, callback_class: Any) -> None:
    def task(cfg: DictConfig) -> float:
        train(callback_class("eval_loss"), (0.9, 0.9), first=False)
        return 0.9

    for trial in sweep(tmp_path, *TYPED, task=task).study.trials:
        assert (trial.state, trial.intermediate_values) == (TrialState.COMPLETE, {})


def test_a_metric_that_no_evaluation_has_is_one_line(tmp_path: Path, callback_class: Any) -> None:
    def task(cfg: DictConfig) -> float:
        train(callback_class("los"), (0.9,))
        return 0.9

    with pytest.raises(
        UserError, match=r"^metric: found los, expected one of eval_loss, epoch; did you mean eval_loss"
    ):
        sweep(tmp_path, *TYPED, task=task)


@pytest.mark.slow
def test_a_real_trainer_reports_and_is_pruned(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed, which the Trainer needs")
    import torch

    callback = importlib.import_module(OURS).TrialCallback

    class Constant(torch.nn.Module):
        """A model whose loss is what it is told, whatever is trained."""

        def __init__(self, loss: float) -> None:
            super().__init__()
            self.weight, self.loss = torch.nn.Parameter(torch.zeros(1)), loss

        def forward(self, x: Any, labels: Any = None) -> Any:
            return {"loss": self.loss + 0 * (self.weight * x).sum(), "logits": x}

    def task(cfg: DictConfig) -> float:
        rows = [{"x": torch.ones(1), "labels": torch.zeros(1)}] * 4
        args = transformers.TrainingArguments(
            str(tmp_path / "hf"),
            num_train_epochs=2,
            eval_strategy="epoch",
            report_to=[],
            save_strategy="no",
            use_cpu=True,
        )
        model = Constant(LOSSES[HydraConfig.get().job.num][0])
        trainer = transformers.Trainer(model, args, train_dataset=rows, eval_dataset=rows, callbacks=[callback()])
        trainer.train()
        return float(trainer.evaluate()["eval_loss"])

    complete, pruned = sweep(tmp_path, *TYPED, task=task).study.trials
    assert complete.state is TrialState.COMPLETE
    assert complete.intermediate_values == pytest.approx({1: 0.1, 2: 0.1})
    assert (pruned.state, list(pruned.intermediate_values)) == (TrialState.PRUNED, [1])
