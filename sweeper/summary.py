"""A run in plain words, and whether it meets the research's success criteria."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["PASS", "FAIL", "PENDING"]


@dataclass(frozen=True)
class Criteria:
    """Targets of one data set; the ``criteria`` node of the config.

    ``epoch`` is the one at which overfitting is judged.
    """

    min_val_auc: float
    first_best_epoch: int
    last_best_epoch: int
    max_train_val_gap: float
    max_train_auc: float
    epoch: int


@dataclass(frozen=True)
class Judgement:
    """One criterion, its verdict and the figures behind it."""

    criterion: str
    verdict: Verdict
    figures: str


def figure(value: float | None, form: str = ".4f") -> str:
    """A figure as people read it; a dash where there is none."""
    return "-" if value is None else format(value, form)


def judge(history: Sequence[Mapping[str, Any]], planned: int, criteria: Criteria) -> list[Judgement]:
    """Every criterion judged on the epochs that were run, of ``planned``; PENDING where those it needs are missing."""
    best = max(history, key=lambda row: row["val_auc"])
    done = len(history)
    last = next((row for row in history if row["epoch"] == criteria.epoch), None)

    def verdict(passed: bool) -> Verdict:
        return "PASS" if passed else "FAIL"

    judged = [
        Judgement(
            f"best validation AUC >= {criteria.min_val_auc:g}",
            verdict(best["val_auc"] >= criteria.min_val_auc)
            if best["val_auc"] >= criteria.min_val_auc or done >= planned
            else "PENDING",
            f"{best['val_auc']:.4f} in epoch {best['epoch']}",
        )
    ]
    in_range = criteria.first_best_epoch <= best["epoch"] <= criteria.last_best_epoch
    settled = done >= min(planned, criteria.epoch) and done > criteria.first_best_epoch
    judged.append(
        Judgement(
            f"best epoch in [{criteria.first_best_epoch}, {criteria.last_best_epoch}]",
            verdict(in_range) if settled else "PENDING",
            f"epoch {best['epoch']} of {done}",
        )
    )
    for name, column, limit in (
        ("train-validation gap", "train_val_gap", criteria.max_train_val_gap),
        ("training AUC", "train_auc", criteria.max_train_auc),
    ):
        judged.append(
            Judgement(
                f"{name} < {limit:g} at epoch {criteria.epoch}",
                verdict(last[column] < limit) if last is not None and last[column] is not None else "PENDING",
                figure(last[column]) if last is not None else f"epoch {criteria.epoch} was not run",
            )
        )
    return judged


def advice(history: Sequence[Mapping[str, Any]], judged: Sequence[Judgement]) -> str:
    """The research's decision rule: what to do next."""
    verdicts = [j.verdict for j in judged]
    if all(v == "PASS" for v in verdicts):
        return "Every criterion passes: repeat it over the five seeds (Phase 4)."
    overfits = "FAIL" in verdicts[2:]
    if overfits:
        return "It overfits: regularize slightly more."
    if verdicts[0] == "FAIL":
        return "It underfits or the data carry no more: regularize slightly less."
    if "PENDING" in verdicts:
        return "Too few epochs to judge every criterion: complete the run first."
    return "The best epoch lies outside the expected range: look at the trajectory before deciding."


def summarize(
    identity: Mapping[str, Any], history: Sequence[Mapping[str, Any]], planned: int, criteria: Criteria
) -> str:
    """summary.txt: configuration, trajectory, criteria and what follows from them."""
    judged = judge(history, planned, criteria)
    lines = ["Configuration"]
    lines += [f"  {name:<16} {value}" for name, value in identity.items() if not isinstance(value, dict | list)]
    lines += ["", f"Trajectory ({len(history)} of {planned} epochs)"]
    lines.append("  epoch  train loss  train AUC  val loss  val AUC   val gAUC  gap      gate    seconds")
    for row in history:
        lines.append(
            f"  {row['epoch']:>5}  {row['train_loss']:>10.4f}  {figure(row['train_auc']):>9}  {row['val_loss']:>8.4f}"
            f"  {row['val_auc']:>7.4f}  {figure(row['val_gauc']):>8}  {figure(row['train_val_gap'], '+.4f'):>7}"
            f"  {figure(row['gate_mean']):>6}"
            f"  {row['epoch_seconds']:>7.1f}"
        )
    lines += [
        "",
        "Criteria (the targets under `criteria` in the config; by default those of the research, on its data)",
    ]
    lines += [f"  {j.verdict:<8} {j.criterion}: {j.figures}" for j in judged]
    lines += ["", "What follows, by these criteria", f"  {advice(history, judged)}", ""]
    return "\n".join(lines)
