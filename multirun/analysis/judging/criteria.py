"""Success criteria over a whole configuration, and its tier.

Tier 1.5 is defined in the research's report. Tiers 1, 2 and 3, and the margin of a narrow miss, come from the
research's other notes. The criteria themselves and the decision rule are those of a single run, in
``mdaf.sweeper.job.criteria``.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mdaf.conf.schema import Criteria, Tiers
from mdaf.sweeper.job.criteria import Judgement, NextStep, decide, judge
from mdaf.sweeper.runs.metric_columns import MONITOR, best_epoch

Tier = Literal["1", "1.5", "2", "3"]


@dataclass(frozen=True)
class Assessment:
    """One configuration against its criteria.

    ``gap``  the train-validation gap at the last epoch run, in words.
    """

    judgements: list[Judgement]
    tier: Tier
    decision: NextStep
    reason: str
    gap: str


MEANING: dict[Tier, str] = {
    "1": "every criterion passes",
    "1.5": "the validation AUC passes, nothing fails, something is pending",
    "2": "the validation AUC narrowly misses its target, or one other criterion fails",
    "3": "the criteria are not met, or too few epochs were run to judge",
}


def assess(
    history: Sequence[Mapping[str, Any]],
    planned: int,
    criteria: Criteria,
    tiers: Tiers,
    bests: Sequence[Mapping[str, Any]] = (),
    monitor: str = MONITOR,
) -> Assessment:
    """Judges the epochs that were run, of ``planned``; rows need epoch, val_auc, train_auc and train_val_gap.

    ``history``  of one run, or the mean curve of several.
    ``bests``    each run's own best epoch, if there are several: the best validation AUC is then their mean, as it is
                 everywhere in a report, and the best epoch their median.
    ``monitor``  the metric that decides the best epoch.
    """
    best = _best(bests) if bests else best_epoch(history, monitor)
    judgements = judge(history, planned, criteria, best, monitor)
    decision = decide(judgements)
    tier = tier_of(judgements, best["val_auc"], criteria, tiers)
    return Assessment(judgements, tier, decision.next_step, decision.reason, _gap(history, tiers))


def _best(bests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "val_auc": statistics.fmean(row["val_auc"] for row in bests),
        "epoch": statistics.median_low([row["epoch"] for row in bests]),
    }


def tier_of(judgements: Sequence[Judgement], best: float, criteria: Criteria, tiers: Tiers) -> Tier:
    """The tier; ``judgements`` in the order of ``judge``, the validation AUC first."""
    auc, *others = (judgement.verdict for judgement in judgements)
    failing = others.count("FAIL")
    if auc == "PASS" and failing == 0:
        return "1.5" if "PENDING" in others else "1"
    narrowly = best >= criteria.min_val_auc - tiers.near_miss
    if (auc == "PASS" and failing == 1) or (auc == "FAIL" and narrowly and failing == 0):
        return "2"
    return "3"


def _gap(history: Sequence[Mapping[str, Any]], tiers: Tiers) -> str:
    last = history[-1]
    low, high = tiers.healthy_gap
    gap = last["train_val_gap"]
    if gap is None:
        return f"not known at epoch {last['epoch']}"
    where = "within" if low <= gap <= high else "below" if gap < low else "above"
    return f"{gap:+.4f} at epoch {last['epoch']}, {where} the range [{low:g}, {high:g}] that the research calls healthy"
