"""The success criteria of the research, and its decision rule: what to do next.

A run's summary.txt and a report use them alike. The summary judges one run, the report the runs of a configuration on
several seeds: their mean curve, and each run's own best epoch.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Literal

from omegaconf import DictConfig, OmegaConf

from mdaf.conf.schema import Criteria
from mdaf.sweeper.runs.metric_columns import MONITOR, best_epoch
from mdaf.sweeper.runs.metric_columns import column as column_of

Verdict = Literal["PASS", "FAIL", "PENDING"]
#: The sources whose data are the research's: impressions of ads, of which 4.7 % are clicked. UserBehavior is not one of
#: them, although the research called its data so: a next click beside drawn negatives has other AUCs.
OF_THE_RESEARCH: Final = ("mdaf.data.taobao_ad.TaobaoAd", "mdaf.data.taobao_ad_joined.TaobaoAdJoined")
MODEL_OF_THE_RESEARCH: Final = ("mdaf.model.mdaf.MDAF", "mamba")
NextStep = Literal["Phase 4", "regularize more", "regularize less", "complete the run", "look at the trajectory"]


def are_meant(config: DictConfig) -> bool:
    """Whether a run of this config is judged by the criteria.

    It is where its data are the research's, or where its criteria are others than those of ``conf/config.yaml``, so
    that a user chose them for these data: no preset of ours sets any. Elsewhere the research's targets say nothing.
    """
    if OmegaConf.select(config, "data._target_") in OF_THE_RESEARCH:
        return True
    return bool(OmegaConf.to_container(config.criteria) != _own_criteria())


def is_the_research(config: DictConfig) -> bool:
    """Whether a run of this config trains the research's model on the research's data, as its phases did."""
    model = tuple(OmegaConf.select(config, key) for key in ("model._target_", "model.sequence.kind"))
    return model == MODEL_OF_THE_RESEARCH and OmegaConf.select(config, "data._target_") in OF_THE_RESEARCH


@functools.cache
def _own_criteria() -> Any:
    own = OmegaConf.create(resources.files("mdaf.conf").joinpath("config.yaml").read_text(encoding="utf-8"))
    return OmegaConf.to_container(own.criteria)


@dataclass(frozen=True)
class Judgement:
    """One criterion, its verdict and the figures behind it."""

    criterion: str
    verdict: Verdict
    figures: str


@dataclass(frozen=True)
class Decision:
    """What the decision rule says to do next, and why."""

    next_step: NextStep
    reason: str

    def __str__(self) -> str:
        return decision_text(self.next_step, self.reason)


def decision_text(next_step: str, reason: str) -> str:
    """A decision as a sentence, for a run's summary and for a report."""
    return f"{next_step}. {reason}"


def judge(
    history: Sequence[Mapping[str, Any]],
    planned: int,
    criteria: Criteria,
    best: Mapping[str, Any] | None = None,
    monitor: str = MONITOR,
) -> list[Judgement]:
    """The verdict on each criterion.

    ``history``  the metrics of the epochs that were run.
    ``planned``  the number of epochs of the whole run. A criterion that needs an epoch not yet run is PENDING.
    ``best``     ``epoch`` and ``val_auc`` that count as the best, where they are not those of ``history``.
    ``monitor``  the metric that decides the best epoch.
    """
    best = best_epoch(history, monitor) if best is None else best
    done = len(history)
    return [
        _of_best_auc(best, criteria, monitor, is_final=done >= planned),
        _of_best_epoch(best, criteria, done, planned),
        _of_overfitting(history, criteria, "train-validation gap", "train_val_gap", criteria.max_train_val_gap),
        _of_overfitting(history, criteria, "training AUC", "train_auc", criteria.max_train_auc),
    ]


def _of_best_auc(best: Mapping[str, Any], criteria: Criteria, monitor: str, *, is_final: bool) -> Judgement:
    measured = (
        "best validation AUC" if monitor == MONITOR else f"validation AUC at the best {column_of(monitor).heading}"
    )
    passed = best["val_auc"] >= criteria.min_val_auc
    return Judgement(
        f"{measured} >= {criteria.min_val_auc:g}",
        _verdict(passed) if passed or is_final else "PENDING",
        f"{best['val_auc']:.4f} in epoch {best['epoch']}",
    )


def _of_best_epoch(best: Mapping[str, Any], criteria: Criteria, done: int, planned: int) -> Judgement:
    in_range = criteria.first_best_epoch <= best["epoch"] <= criteria.last_best_epoch
    is_final = done >= min(planned, criteria.epoch) and done > criteria.first_best_epoch
    return Judgement(
        f"best epoch in [{criteria.first_best_epoch}, {criteria.last_best_epoch}]",
        _verdict(in_range) if is_final else "PENDING",
        f"epoch {best['epoch']} of {done}",
    )


def _of_overfitting(
    history: Sequence[Mapping[str, Any]], criteria: Criteria, name: str, column: str, limit: float
) -> Judgement:
    """Whether a figure of the training rows stays below its limit at the epoch of the criteria."""
    row = next((row for row in history if row["epoch"] == criteria.epoch), None)
    return Judgement(
        f"{name} < {limit:g} at epoch {criteria.epoch}",
        _verdict(row[column] < limit) if row is not None and row[column] is not None else "PENDING",
        _four_digits(row[column]) if row is not None else f"epoch {criteria.epoch} was not run",
    )


def _verdict(passed: bool) -> Verdict:
    return "PASS" if passed else "FAIL"


def decide(judgements: Sequence[Judgement]) -> Decision:
    """The decision rule of the research, for ``judgements`` in the order in which ``judge`` returns them."""
    auc, epoch, *overfitting = (judgement.verdict for judgement in judgements)
    if "FAIL" in overfitting:
        return Decision("regularize more", "It overfits: the gap or the training AUC is over its limit.")
    if auc == "FAIL" and "PENDING" not in overfitting:
        return Decision(
            "regularize less", "It does not overfit and misses the validation AUC: it underfits, or needs more data."
        )
    if "PENDING" in (auc, epoch, *overfitting):
        return Decision("complete the run", "Some criteria need epochs that were not run.")
    if epoch == "FAIL":
        return Decision("look at the trajectory", "Only the best epoch lies outside the expected range.")
    return Decision("Phase 4", "Every criterion passes.")


def _four_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
