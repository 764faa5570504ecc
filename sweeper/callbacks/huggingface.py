"""The callback for the ``Trainer`` of Hugging Face's transformers."""

from __future__ import annotations

import sys
from typing import Any

import optuna
from transformers import TrainerCallback

from mdaf.errors import UserError, did_you_mean
from mdaf.sweeper.trials.attaching.attached import attach


class TrialCallback(TrainerCallback):
    """``Trainer(callbacks=[TrialCallback()])``: reports each evaluation to the job's trial, and prunes.

    An evaluation counts as its epoch where ``eval_strategy`` is ``epoch``, and as its step elsewhere. With several
    processes, the first one reports and all of them end. Outside a sweep it does nothing.

    ``metric``  a metric of the evaluation, as ``eval_loss``; None: ``metric_for_best_model``, or else ``eval_loss``.
    """

    def __init__(self, metric: str | None = None) -> None:
        self.metric = metric
        self._trains = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trains = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trains = False

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        """Raises optuna.TrialPruned if the pruner stops the trial, UserError if there is no such metric."""
        trial = attach()
        if not trial or not self._trains:
            return
        name = self.metric or args.metric_for_best_model or "eval_loss"
        name = name if name in metrics else f"eval_{name}"
        if name not in metrics:
            raise UserError(
                f"metric: found {name.removeprefix('eval_')}, expected one of {', '.join(metrics)}"
                f"{did_you_mean(name, list(metrics))}"
            )
        by_epoch = getattr(args.eval_strategy, "value", args.eval_strategy) == "epoch"
        at = round(state.epoch) if by_epoch else state.global_step
        last = control.should_training_stop or state.global_step >= state.max_steps
        stop = state.is_world_process_zero and trial.asks_to_stop(at, metrics[name], last=last)
        if _said_by_the_first_process(stop):
            raise optuna.TrialPruned(f"stopped by the pruner after {'epoch' if by_epoch else 'step'} {at}")


def _said_by_the_first_process(answer: bool) -> bool:
    """The answer of the first process, in all processes that train together."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return answer
    answers = [answer]
    distributed.broadcast_object_list(answers, src=0)
    return answers[0]
