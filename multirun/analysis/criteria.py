"""Success criteria over a whole configuration: tiers, and what the research's decision rule says to do next.

The criteria themselves are judged by ``mdaf.sweeper.job.criteria.judge``, epoch by epoch; here they become a tier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mdaf.sweeper.job.criteria import Criteria, Judgement, judge

Tier = Literal["1", "1.5", "2", "3"]
Decision = Literal["Phase 4", "regularize more", "regularize less", "complete the run", "look at the trajectory"]


@dataclass(frozen=True)
class Tiers:
    """What the criteria need besides to become a tier; the ``tiers`` node of the config.

    ``near_miss``    how far below its target a validation AUC is still tier 2.
    ``healthy_gap``  the train-validation gap that the research calls healthy; a remark, no criterion.
    """

    near_miss: float
    healthy_gap: tuple[float, float]


@dataclass(frozen=True)
class Assessment:
    """One configuration against its criteria.

    ``gap``  the train-validation gap at the last epoch run, in words.
    """

    judgements: tuple[Judgement, ...]
    tier: Tier
    decision: Decision
    reason: str
    gap: str

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "judgements": [asdict(judgement) for judgement in self.judgements]}


MEANING: dict[Tier, str] = {
    "1": "every criterion passes",
    "1.5": "the validation AUC passes, nothing fails, something is pending",
    "2": "the validation AUC narrowly misses its target, or one other criterion fails",
    "3": "the criteria are not met, or too few epochs were run to judge",
}


def assess(history: Sequence[Mapping[str, Any]], planned: int, criteria: Criteria, tiers: Tiers) -> Assessment:
    """Judges the epochs that were run, of ``planned``; rows need epoch, val_auc, train_auc and train_val_gap."""
    judgements = tuple(judge(history, planned, criteria))
    best = max(row["val_auc"] for row in history)
    decision, reason = decide(judgements)
    return Assessment(judgements, tier_of(judgements, best, criteria, tiers), decision, reason, _gap(history, tiers))


def tier_of(judgements: Sequence[Judgement], best: float, criteria: Criteria, tiers: Tiers) -> Tier:
    """The research's tier; ``judgements`` in the order of ``judge``, the validation AUC first."""
    auc, *others = (judgement.verdict for judgement in judgements)
    failing = others.count("FAIL")
    if auc == "PASS" and failing == 0:
        return "1.5" if "PENDING" in others else "1"
    narrowly = best >= criteria.min_val_auc - tiers.near_miss
    if (auc == "PASS" and failing == 1) or (auc == "FAIL" and narrowly and failing == 0):
        return "2"
    return "3"


def decide(judgements: Sequence[Judgement]) -> tuple[Decision, str]:
    """The research's decision rule, and the reason in a sentence."""
    auc, epoch, *overfitting = (judgement.verdict for judgement in judgements)
    if "FAIL" in overfitting:
        return "regularize more", "It overfits: the gap or the training AUC is over its limit."
    if auc == "FAIL" and "PENDING" not in overfitting:
        return "regularize less", "It does not overfit and misses the validation AUC: it underfits, or needs more data."
    if "PENDING" in (auc, epoch, *overfitting):
        return "complete the run", "Some criteria need epochs that were not run."
    if epoch == "FAIL":
        return "look at the trajectory", "Only the best epoch lies outside the expected range."
    return "Phase 4", "Every criterion passes."


def _gap(history: Sequence[Mapping[str, Any]], tiers: Tiers) -> str:
    last = history[-1]
    low, high = tiers.healthy_gap
    gap = last["train_val_gap"]
    if gap is None:
        return f"not known at epoch {last['epoch']}"
    place = "within" if low <= gap <= high else "below" if gap < low else "above"
    return f"{gap:+.4f} at epoch {last['epoch']}, {place} the range [{low:g}, {high:g}] that the research calls healthy"
