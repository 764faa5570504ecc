"""The question of Phase 4 on the machine: the seeds of a look are trained if the look before did not answer it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from mdaf.multirun.analysis.decided import Rows, looks_of
from mdaf.multirun.analysis.looks.decision import Look, LookPlan
from mdaf.multirun.analysis.rows.same_rows import RunOfPoint
from mdaf.multirun.analysis.wording import listed
from mdaf.multirun.phase4 import plan as phase4
from mdaf.multirun.phase4.looks_made import LooksMade
from mdaf.multirun.phase4.plan import Expected, Series
from mdaf.multirun.phase4.points import Point
from mdaf.sweeper.runs.reader import read_finished_run

log = logging.getLogger(__name__)

Score = Callable[[Sequence[Path]], object]  # keeps the scores of runs on the rows that decide


class Inquiry:
    """Is the first of two points better than the second? Looked at by a plan, until it is answered.

    ``secondary``  points that are run on the seeds of the last look, after it.
    """

    def __init__(
        self,
        question: tuple[Point, Point],
        secondary: Sequence[Point],
        plan: LookPlan,
        seeds: Sequence[int],
        made: LooksMade,
        rows: str,
        resamples: int,
        roots: Sequence[Path],
    ) -> None:
        self._question, self._secondary = question, list(secondary)
        self._plan, self._seeds, self._made = plan, list(seeds), made
        self._split, self._resamples, self._roots = rows, resamples, roots
        self._failed: dict[str, set[int]] = {point.name: set() for point in question}

    @property
    def title(self) -> str:
        """What is asked, and when, for the plan."""
        a, b = (point.name for point in self._question)
        beside = f", then {listed([point.name for point in self._secondary])}" if self._secondary else ""
        return (
            f"is {a} better than {b}, on {self._split} rows? Looked at after {listed(self._plan.looks)} pairs of seeds"
            f"{beside}"
        )

    def expected(self) -> Expected:
        """What is still to be trained. Nothing, if a look that was made was the last."""
        made = self._made.seeds()
        seeds = dict.fromkeys([*self._seeds, *(seed for look in made for seed in look)])
        there = phase4.plan([*self._question, *self._secondary], list(seeds), self._roots)
        looks = self._looks_there(there[: len(self._question)], made)
        if looks and looks[-1].stop is not None:
            missing = _missing(there, made[len(looks) - 1])
            runs = len(there) * len(made[len(looks) - 1])
            return Expected(runs, runs, missing, missing)
        planned = self._plan.looks
        first, last = planned[min(len(looks), len(planned) - 1)], planned[-1]
        least, most = (_missing(there, self._seeds[:n]) for n in (first, last))
        return Expected(len(there) * first, len(there) * last, least, most)

    def ask(
        self, launcher: str | None, score: Score, say: Callable[[str], object] = lambda stage: None
    ) -> list[Series]:
        """Trains, scores and looks until the question is answered or given up; the runs of every point.

        ``say`` is told what is done now.
        """
        series: list[Series] = []
        for index, planned in enumerate(self._plan.looks):
            made = self._made.seeds()
            seeds = made[index] if index < len(made) else self._seeds[:planned]
            looks = f"look {index + 1} of at most {len(self._plan.looks)}, after {planned} pairs of seeds"
            say(f"training for {looks}")
            series = self._trained(seeds, launcher)
            say(f"scoring for {looks}")
            score([folder for one in series for folder in one.done.values()])
            if index >= len(made):
                self._made.add(planned, [seed for seed in seeds if all(seed in one.done for one in series)])
            look = self._looks(series)[index]
            log.info("%s", _said(self._question, look))
            if look.stop is not None:
                break
        say("training the other points" if self._secondary else "")
        others = phase4.plan(self._secondary, self._made.seeds()[index], self._roots)
        phase4.run_missing(others, self._roots, launcher)
        score([folder for one in others for folder in one.done.values()])
        return [*series, *others]

    def made(self) -> list[list[int]]:
        """The seeds of each look that was made."""
        return self._made.seeds()

    def _trained(self, seeds: Sequence[int], launcher: str | None) -> list[Series]:
        """Both points on these seeds. A seed that failed in this command is not tried again by it."""
        series = []
        for point in self._question:
            failed = self._failed[point.name]
            series += phase4.plan([point], [seed for seed in seeds if seed not in failed], self._roots)
        phase4.run_missing(series, self._roots, launcher)
        for one in series:
            failed = self._failed[one.point.name]
            failed |= set(one.failed)
            one.failed = sorted(failed & set(seeds))
        return series

    def _looks(self, series: Sequence[Series]) -> list[Look]:
        """The looks that were made, on the runs that are there."""
        a, b = (one.point.name for one in series)
        runs = {one.point.name: {seed: RunOfPoint("", folder) for seed, folder in one.done.items()} for one in series}
        rows = Rows(self._split, self._resamples, runs)
        values = {name: {seed: self._auc(rows, run.folder) for seed, run in of.items()} for name, of in runs.items()}
        differences = {
            seed: mine - other
            for seed, mine in values[a].items()
            if mine is not None and (other := values[b].get(seed)) is not None
        }
        return looks_of(a, b, differences, self._made.seeds(), self._plan, rows)

    def _looks_there(self, series: Sequence[Series], made: Sequence[Sequence[int]]) -> list[Look]:
        """The looks that were made, if all that they looked at is there."""
        if not made or any(_missing(series, seeds) for seeds in made):
            return []
        looks = self._looks(series)
        return looks if all(look.n == len(seeds) for look, seeds in zip(looks, made, strict=False)) else []

    def _auc(self, rows: Rows, folder: Path) -> float | None:
        if self._split == "validation":
            return float(read_finished_run(folder).best["val_auc"])
        return rows.same.auc(folder)


def _missing(series: Sequence[Series], seeds: Sequence[int]) -> int:
    return sum(len(set(one.missing) & set(seeds)) for one in series)


def _said(question: tuple[Point, Point], look: Look) -> str:
    a, b = (point.name for point in question)
    if look.mean is None:
        return f"{a} against {b}: no pair of seeds has finished"
    goes_on = {
        None: "; it is looked at again with more seeds",
        "verdict": "",
        "futility": "; no more seeds are run, since the mean difference is not positive",
        "last look": "; this was the last look",
    }[look.stop]
    return f"{a} - {b} on seeds {listed(look.seeds)}: {look.mean:+.5f}, {look.verdict}{goes_on}"
