"""A run in plain words, and whether it meets the research's success criteria."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mdaf.sweeper.job.criteria import Criteria, decide, figure, judge


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
    lines += ["", "What follows, by these criteria", f"  {decide(judged)}", ""]
    return "\n".join(lines)
