"""What the data at hand can support, and what they cannot: the research's table of valid and invalid analyses."""

from __future__ import annotations

from dataclasses import dataclass, field

from mdaf.multirun.analysis.statistics import sign_flip_floor
from mdaf.multirun.analysis.verdict_rule import MIN_SEEDS


@dataclass(frozen=True)
class Analysis:
    """One analysis, whether the evidence supports it, and why."""

    name: str
    valid: bool
    why: str


@dataclass(frozen=True)
class Evidence:
    """How much of the planned evidence is there: whole seeds, and epochs of the seed that has the fewest.

    ``pairs``  of seeds, of each comparison; empty where nothing is compared.
    """

    epochs: int
    epochs_planned: int
    seeds: int
    seeds_planned: int
    pairs: list[int] = field(default_factory=list)


def share_of_plan(evidence: Evidence) -> float:
    """Epochs times seeds, of those planned: one of five of each is 4 %."""
    return evidence.epochs * evidence.seeds / (evidence.epochs_planned * evidence.seeds_planned)


def sufficiency(found: list[Analysis]) -> str:
    """Whether every analysis of the plan is valid, in words."""
    every = all(analysis.valid for analysis in found)
    return "complete, so that every planned analysis can be made" if every else "statistically insufficient"


def analyses(evidence: Evidence) -> list[Analysis]:
    """Every analysis of the plan, valid or not."""
    e = evidence
    complete = e.epochs >= e.epochs_planned
    epochs = f"{e.epochs} of {e.epochs_planned} epochs were run"
    seeds = f"{e.seeds} of {e.seeds_planned} seeds are there"
    pairs = min(e.pairs, default=0)
    if not e.pairs:
        compared = "there is no pair of configurations, so nothing is compared"
    else:
        least = f"without normality p cannot fall below {sign_flip_floor(pairs):.4g}"
        compared = f"{pairs} pairs of seeds; {least if pairs >= MIN_SEEDS else f'{MIN_SEEDS} is the least'}"
    return [
        Analysis("the runs' figures as measured", e.epochs >= 1, "they are facts about these runs"),
        Analysis("best epoch", complete, epochs),
        Analysis("overfitting trajectory", complete, epochs),
        Analysis("mean over seeds", e.seeds >= 2, seeds),
        Analysis("variance over seeds", e.seeds >= MIN_SEEDS, f"{seeds}; {MIN_SEEDS} is the least"),
        Analysis("significance by the paired t-test", pairs >= MIN_SEEDS, compared),
        Analysis(
            "comparison over all planned seeds",
            0 < e.seeds_planned <= pairs,
            f"{pairs} of {e.seeds_planned} pairs of seeds are there" if e.pairs else compared,
        ),
    ]


LIMITS = (
    "Few seeds: the t-test and its intervals rest on the differences being roughly normal, which so few cannot show. "
    "A configuration that collapses on one seed of ten seldom does so within four, and may be called better wrongly.",
    "One data set and one time split: nothing here says how another market, month or catalogue would turn out. All "
    "seeds train on the same rows, so the chance of which rows those are is in no error.",
    "The error of rows is that of resampled users, all of one period. What a seed does to single users is in the error "
    "of seeds and in that of users, so it counts twice.",
    "A run's validation AUC is that of its best epoch, which is chosen on the rows that it is measured on. The test "
    "split, which chooses nothing, is the check on that.",
)
