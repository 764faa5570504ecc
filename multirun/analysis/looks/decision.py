"""One question, decided by looks: after so many pairs it is answered, given up, or asked of more pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mdaf.multirun.analysis.looks.levels import nominal_level
from mdaf.multirun.analysis.statistics import Interval, combined_interval, combined_p
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
    ``p``              two-sided, with the error of seeds and that of users; None where it cannot be computed.
    ``interval``       of the mean, likewise, at one minus the level of a look: it holds at all looks together.
    ``users_error``    standard error of the mean over resampled users. None where it is not known, or was not computed
                       because the seeds' error alone leaves the question open: then p and interval are of seeds alone,
                       p is at least so large, and the interval at least so wide.
    ``stop``           why this look was the last one; None where there is a further one.
    """

    planned: int
    seeds: list[int]
    n: int
    mean: float | None
    sd: float | None
    p: float | None
    interval: Interval | None
    verdict: Verdict
    stop: Stop | None
    users_error: float | None = None


UsersError = Callable[[Sequence[int]], float | None]  # seeds -> standard error of the mean over resampled users


def look_at(by_seed: Mapping[int, float], planned: int, plan: LookPlan, users_error: float | None = None) -> Look:
    """One look at the differences that are there, where ``planned`` pairs were meant to be."""
    sample = np.array(list(by_seed.values()), dtype=float)
    n, level = len(sample), plan.level
    interval = combined_interval(sample, users_error or 0.0, 1 - level) if n > 1 else None
    mean = float(sample.mean()) if n else None
    p = combined_p(sample, users_error or 0.0)
    found = verdict(mean or 0.0, n, p, level, interval, plan.margin)
    return Look(
        planned=planned,
        seeds=list(by_seed),
        n=n,
        mean=mean,
        sd=float(sample.std(ddof=1)) if n > 1 else None,
        p=p,
        interval=interval,
        users_error=users_error,
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
    users: UsersError | None = None,
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
        if users is not None and look.stop is not None:  # their error never ends an open question
            look = look_at(there, planned, plan, users(list(there)))
        if all_made and look.stop == "futility" and index < last:
            look = replace(look, stop=None)  # it is not binding, and whoever looked went on
        found.append(look)
        if found[-1].stop is not None:
            break
    return found
