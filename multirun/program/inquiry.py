"""The question of Phase 4: is the winner better than the baseline? The seeds of a look run if the last left it open."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from mdaf.errors import UserError
from mdaf.multirun.analysis.looks.decision import Look, LookPlan, make_looks
from mdaf.multirun.analysis.wording import listed
from mdaf.multirun.phase4.design import RESEARCH, SEEDS, SEQUENTIAL, check_looks
from mdaf.multirun.phase4.looks_made import LooksMade, Question, planned
from mdaf.multirun.program.content import Looks, Point
from mdaf.multirun.program.figures import leads
from mdaf.multirun.program.runs import Replicates, Series
from mdaf.multirun.program.typed import Program

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Design:
    """On which seeds the two points are run; ``plan`` of the looks, None where all seeds are compared once."""

    seeds: list[int]
    plan: LookPlan | None


def design_of(cfg: DictConfig) -> Design:
    """The design that a config asks for. UserError says which key does not fit."""
    name = str(cfg.design)
    if name not in SEEDS:
        raise UserError(f"design: found {name!r}, expected {SEQUENTIAL} or {RESEARCH}")
    seeds = list(SEEDS[name] if cfg.seeds is None else cfg.seeds)
    if len(seeds) < 2 or len(set(seeds)) != len(seeds):
        raise UserError(f"seeds: found {seeds}, expected two seeds or more, each once")
    if name == RESEARCH:
        return Design(seeds, None)
    check_looks(list(cfg.looks), seeds)
    return Design(seeds, LookPlan(tuple(cfg.looks), cfg.alpha, cfg.margin, cfg.futility))


class Inquiry:
    """The question whether the first of two points is better than the second.

    ``home``       the folder of the log of the looks that were made.
    ``elsewhere``  folders below which there may be other such logs.
    """

    def __init__(
        self,
        points: tuple[Point, Point],
        design: Design,
        replicates: Replicates,
        home: Path,
        elsewhere: Sequence[Path] = (),
    ) -> None:
        self._points, self._design, self._replicates = points, design, replicates
        self._made = None
        if design.plan is not None:
            names = [point.name for point in points]
            question = Question(*(self._computed(point) for point in points))
            plan = planned(design.plan, design.seeds, "values")
            self._made = LooksMade(home, question, names, plan, elsewhere, folder_name=home.name)

    def _computed(self, point: Point) -> str:
        return f"{self._replicates.objective.name} at {json.dumps(point.params, sort_keys=True)}"

    def check_plan(self, *, force: bool) -> None:
        """UserError if the question was looked at under another plan before, unless that is forced."""
        if self._made is not None and (others := self._made.other_plans()) and not force:
            raise UserError(
                f"looks: {' and '.join(point.name for point in self._points)} were looked at with {others[-1]} before. "
                "Another plan after a look makes a false verdict more likely than alpha. Type the plan of before, or "
                "go on all the same: force=true, and the report says so"
            )

    def expected(self) -> tuple[int, int]:
        """How many runs are missing, at least and at most; 0 if a look that was made was the last."""
        seeds, plan = self._design.seeds, self._design.plan
        if plan is None:
            missing = self._missing(seeds)
            return missing, missing
        looks = self._looks_there()
        if looks and looks[-1].stop is not None:
            return 0, 0
        return self._missing(seeds[: plan.looks[len(looks)]]), self._missing(seeds[: plan.looks[-1]])

    def answer(self, program: Program) -> list[Series]:
        """Has the program run what is missing until the question is answered; both points on the seeds of the end."""
        seeds, plan, made = self._design.seeds, self._design.plan, self._made
        if plan is None or made is None:
            return self._replicates.run_missing(program, self._points, seeds)
        failed: set[int] = set()  # a seed that failed in this command is not tried again by it
        for index, pairs in enumerate(plan.looks):
            there = made.seeds()
            wanted = there[index] if index < len(there) else seeds[:pairs]
            ran = self._replicates.run_missing(program, self._points, [seed for seed in wanted if seed not in failed])
            failed |= {seed for one in ran for seed in one.missing}
            if index >= len(there):
                made.add(pairs, [seed for seed in wanted if seed not in failed])
            look = self._looks()[index]
            log.info("%s", self._said(look))
            if look.stop is not None:
                return self._replicates.plan(self._points, wanted)
        raise AssertionError("the last look of a plan ends it")

    def looks(self) -> Looks | None:
        """The looks that were planned and made, for the report."""
        plan, made = self._design.plan, self._made
        if plan is None or made is None:
            return None
        return Looks(list(plan.looks), plan.futility, made.seeds(), made.other_plans(), made.other_questions())

    def _looks(self) -> list[Look]:
        assert self._design.plan is not None
        assert self._made is not None
        index, made = self._replicates.objective.index, self._made.seeds()
        seeds = sorted({seed for look in made for seed in look})
        winner, baseline = (
            {seed: trial.values[index] for seed, trial in one.done.items()}
            for one in self._replicates.plan(self._points, seeds)
        )
        return make_looks(leads(winner, baseline, self._replicates.objective.sign), made, self._design.plan)

    def _looks_there(self) -> list[Look]:
        """The looks that were made, if all that they looked at is there."""
        made = self._made.seeds() if self._made is not None else []
        if not made or self._missing(sorted({seed for look in made for seed in look})):
            return []
        return self._looks()

    def _missing(self, seeds: Sequence[int]) -> int:
        return sum(len(one.missing) for one in self._replicates.plan(self._points, seeds))

    def _said(self, look: Look) -> str:
        a, b = (point.name for point in self._points)
        if look.mean is None:
            return f"{a} against {b}: no pair of seeds has values"
        goes_on = {
            None: "; it is looked at again with more seeds",
            "verdict": "",
            "futility": f"; no more seeds are run, since {a} is not ahead",
            "last look": "; this was the last look",
        }[look.stop]
        ahead = f"ahead by {look.mean:.4g}" if look.mean > 0 else f"behind by {-look.mean:.4g}"
        return f"{a} is {ahead} of {b} on seeds {listed(look.seeds)}: {look.verdict}{goes_on}"
