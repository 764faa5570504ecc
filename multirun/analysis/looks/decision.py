"""One question, decided by looks: after so many pairs it is answered, given up, or asked of more pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from mdaf.multirun.analysis.looks.levels import nominal_level
from mdaf.multirun.analysis.statistics import Interval, t_interval, varies
from mdaf.multirun.analysis.verdict_rule import MIN_SEEDS, Verdict, verdict

Stop = Literal["verdict", "futility", "last look"]


@dataclass(frozen=True)
class LookPlan:
    """When a question is looked at, and by which rule it is answered.

    ``looks``     numbers of pairs, rising, the first ``MIN_SEEDS`` or more.
    ``alpha``     two-sided error of all looks together.
    ``margin``    differences up to this size matter to nobody; None: there is no verdict ``equivalent``.
    ``futility``  pairs from which a mean difference that is not positive ends the looks; None: it never does. It is
                  not binding: who goes on all the same has the same error, since the level does not count on it.
    """

    looks: tuple[int, ...] = (4, 6, 8, 10)
    alpha: float = 0.05
    margin: float | None = None
    futility: int | None = 6

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in itertools.pairwise(self.looks))
        if not self.looks or not rising or self.looks[0] < MIN_SEEDS:
            raise ValueError(f"found {list(self.looks)}, expected rising numbers of pairs, {MIN_SEEDS} or more")

    @property
    def level(self) -> float:
        """Two-sided, of each look."""
        return nominal_level(self.looks, self.alpha).level


@dataclass(frozen=True)
class Look:
    """What one look found.

    ``planned``        pairs of the plan; ``n`` of them are there, those of ``seeds``.
    ``mean``           difference, positive where the first of the two is ahead; ``sd`` of the differences.
    ``p``              two-sided, of the paired t-test; None where it cannot be computed.
    ``interval``       of the mean, at one minus the level of a look: it holds at all looks together.
    ``rows_interval``  of the mean over resampled users, where it could change the verdict and is known.
    ``stop``           why this look was the last one; None where there is a further one.
    """

    planned: int
    seeds: list[int]
    n: int
    mean: float | None
    sd: float | None
    p: float | None
    interval: Interval | None
    rows_interval: Interval | None
    verdict: Verdict
    stop: Stop | None


Rows = Callable[[Sequence[int]], Interval | None]  # seeds -> interval over resampled users


def look_at(by_seed: Mapping[int, float], planned: int, plan: LookPlan, rows_interval: Interval | None = None) -> Look:
    """One look at the differences that are there, where ``planned`` pairs were meant to be."""
    sample = np.array(list(by_seed.values()), dtype=float)
    n, level = len(sample), plan.level
    interval = t_interval(sample, 1 - level) if n > 1 else None
    mean = float(sample.mean()) if n else None
    p = float(stats.ttest_1samp(sample, 0.0).pvalue) if varies(sample) else None
    found = verdict(mean or 0.0, n, p, rows_interval, level, interval, plan.margin)
    return Look(
        planned=planned,
        seeds=list(by_seed),
        n=n,
        mean=mean,
        sd=float(sample.std(ddof=1)) if n > 1 else None,
        p=p,
        interval=interval,
        rows_interval=rows_interval,
        verdict=found,
        stop=_stop(found, mean, planned, plan),
    )


def _stop(found: Verdict, mean: float | None, planned: int, plan: LookPlan) -> Stop | None:
    if found != "indistinguishable":
        return "verdict"
    if planned == plan.looks[-1]:
        return "last look"
    if plan.futility is not None and planned >= plan.futility and mean is not None and mean <= 0:
        return "futility"
    return None


def make_looks(
    by_seed: Mapping[int, float],
    seeds_of_looks: Sequence[Sequence[int]],
    plan: LookPlan,
    rows: Rows | None = None,
    *,
    all_made: bool = False,
) -> list[Look]:
    """The looks of a plan one after the other, until one of them is the last.

    ``by_seed``         differences, positive where the first of the two is ahead.
    ``seeds_of_looks``  of each look that is made; those without a difference are left out. There may be fewer than
                        the plan has: then the last look's ``stop`` may be None, and the question is open so far.
    ``all_made``        whether each of them was made already: then futility can have ended the last of them alone.
    """
    found: list[Look] = []
    last = len(seeds_of_looks) - 1
    for index, (planned, seeds) in enumerate(zip(plan.looks, seeds_of_looks, strict=False)):
        there = {seed: by_seed[seed] for seed in seeds if seed in by_seed}
        look = look_at(there, planned, plan)
        if rows is not None and look.verdict != "indistinguishable":  # it only takes verdicts away
            look = look_at(there, planned, plan, rows(list(there)))
        if all_made and look.stop == "futility" and index < last:
            look = replace(look, stop=None)  # it is not binding, and whoever looked went on
        found.append(look)
        if found[-1].stop is not None:
            break
    return found
