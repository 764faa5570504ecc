"""Sentences that the reports on this program's own studies and on other programs' studies have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mdaf.multirun.analysis.wording import listed


def caveat_of_force(lacks: Sequence[str]) -> str:
    """What is said first of a report that was made in spite of what it lacks."""
    return f"It was started with force=true although it lacked {'; '.join(lacks)}."


def caveat_of_failures(failed: Mapping[str, Sequence[int]], usable: str) -> str:
    """What is said first where runs of Phase 4 failed. ``usable``: ``both points finished``, or the like."""
    return (
        f"Runs failed: {_on_seeds(failed)}. Only seeds on which {usable} are compared. How often one of them "
        "fails is no part of the verdict."
    )


def caveat_of_other_plans(plans: Sequence[str], alpha: float) -> str:
    """What is said first where the same question was looked at before under other plans, each as it was typed."""
    return (
        f"The plan of looks was changed with force=true: the same question was looked at before with "
        f"{'; and with '.join(plans)}. The error of all these looks together is larger than {alpha:g}, and nobody "
        "knows by how much."
    )


def missing_runs(failed: Mapping[str, Sequence[int]]) -> str:
    """Which runs failed, by point."""
    return f"Some runs failed and are missing from all figures: {_on_seeds(failed)}."


def _on_seeds(failed: Mapping[str, Sequence[int]]) -> str:
    return "; ".join(f"{point} on seed {listed(seeds)}" for point, seeds in failed.items())


def other_questions(questions: Sequence[str], where: str, alpha: float) -> str:
    """That looks were made at other questions too. ``where``: for which study, or against what."""
    return (
        f"Beside this question, looks were made at others, {where}: {'; '.join(questions)}. Each of them has an error "
        f"of {alpha:g} of its own."
    )


def chosen_of_the_tied(tied: Sequence[str], noise: str, baseline: str) -> str:
    """How confirmation names one point. ``tied``: those within ``noise`` of the best mean."""
    if len(tied) == 1:
        return f"Its mean is the best, and no other lies within the noise of {noise}."
    return (
        f"{listed(tied)} lie within the noise of {noise}, one standard error of a difference of two means, so the one "
        f"nearest to {baseline} is taken."
    )


def found_with_power(detectable: str, lacking: str = "") -> str:
    """Which true difference the looks find. ``lacking``: which error is no part of that."""
    return (
        f"At the spread that was seen, these looks find a true difference of {detectable} with 80 % power{lacking}. "
        "The spread of so few pairs is itself uncertain."
    )


def overstated(who: str, exaggeration: float) -> str:
    """By how much the mean difference is too large on average where ``who`` is called better."""
    return (
        f"{who} is called better where the mean difference happens to be large, so that mean is too large on average. "
        f"A true difference that is found with 80 % power is overstated by {100 * exaggeration:.0f} % on average, a "
        "smaller one by more."
    )
