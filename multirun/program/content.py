"""What a report on another program's study holds: its inputs, and its figures, each with the runs that it comes from.

The fields of these dataclasses are the keys of report.json, in its order. A run's id is its stage, its point and its
seed, and its value is the one that its trial recorded. Figures are in the objective's own units. A smaller value is the
better one where ``direction`` is ``minimize``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mdaf.multirun.analysis.comparisons import SeedDifference
from mdaf.multirun.analysis.confirmation import ConfirmedCandidate
from mdaf.multirun.analysis.looks.decision import Look
from mdaf.multirun.analysis.report_data.json_form import JsonObject
from mdaf.multirun.analysis.statistics import Interval, Spread
from mdaf.multirun.analysis.verdict_rule import Verdict

FORMAT, KIND = 1, "values"
CONFIRMATION, PHASE_4 = "confirmation", "phase 4"  # the stages of a run, and keys of ``seeds``
SEARCH = "search"


@dataclass(frozen=True)
class Point:
    """A configuration: its values of the searched parameters as the study records them.

    ``trial``  the trial of the study that has these values, None if none has; ``value``: what it recorded.
    """

    name: str
    trial: int | None
    value: float | None
    params: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run of a point on a seed: a trial of the study ``Inputs.runs_of``."""

    id: str
    stage: str
    point: str
    seed: int
    trial: int


@dataclass(frozen=True)
class Looks:
    """When the question was to be looked at, and the seeds of the looks that were made.

    ``other_plans``      looks at this very question that were made under another plan.
    ``other_questions``  that were looked at for the same study.
    """

    planned: list[int]
    futility: int | None
    made: list[list[int]]
    other_plans: list[str]
    other_questions: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Inputs(JsonObject):
    """What a report is about, and the rules by which it judges.

    ``runs_of``     the study that holds the runs.
    ``objective``   the name of the value that is judged; ``index``: its place among the values that a job returns.
    ``seed_key``    the parameter of ``runs_of`` that is the seed.
    ``distances``   point -> how far it lies from the baseline, each parameter scaled to the searched box.
    ``search_seeds``  None where the study does not say which seeds its trials had.
    ``failed``      stage and point -> the seeds without a value.
    ``looks``       at the question whether the winner is better than the baseline; None where all seeds are compared
                    once.
    ``margin``      differences up to this size matter to nobody; None where nobody said so.
    ``raced``       whether the study is a race, which ran its points on several seeds and named the winner itself.
    ``forced``      what was not met and ``force=true`` went past, in words.
    ``signs``       parameter -> ``+`` or ``++``, with which the program's config gets it, where it does not have it.
    """

    title: str
    study: str
    runs_of: str
    program: str
    objective: str
    index: int
    direction: str
    seed_key: str
    winner: str
    baseline: str
    points: list[Point]
    candidates: list[str]
    distances: dict[str, float]
    search_seeds: list[int] | None
    seeds: dict[str, list[int]]
    failed: dict[str, list[int]]
    alpha: float
    margin: float | None
    looks: Looks | None
    runs: list[Run]
    raced: bool = False
    forced: list[str] = field(default_factory=list)
    signs: dict[str, str] = field(default_factory=dict)

    @property
    def sign(self) -> int:
        """1 where a greater value is better, else -1."""
        return 1 if self.direction == "maximize" else -1


@dataclass(frozen=True)
class ConfirmedPoint(ConfirmedCandidate):
    """A candidate on the confirmation seeds. ``optimism`` is how much better its trial was than its confirmed mean."""

    from_: list[str]


@dataclass(frozen=True)
class Confirmation:
    """What confirmation came to.

    ``noise``  standard error of the difference of two candidates' means; ``tied``: those within it of the best mean.
    """

    candidates: list[ConfirmedPoint]
    noise: float
    tied: list[str]
    best_mean: str
    named: str
    from_: list[str]


@dataclass(frozen=True)
class Configuration:
    """A point over the seeds of Phase 4."""

    seeds: list[int]
    spread: Spread
    from_: list[str]


@dataclass(frozen=True, kw_only=True)
class Comparison(SeedDifference):
    """The difference ``a - b`` of two points, and its verdict on ``a``.

    Rows are not known, so ``interval`` is Student's: of 95 %, or at one minus the level of a look.
    """

    seed_correlation: float | None
    interval: Interval | None
    holm_p: float | None
    verdict: Verdict
    from_: list[str]


@dataclass(frozen=True)
class Decision:
    """The answer to the question, by its looks.

    ``level``  two-sided, of each look, so that all of them together keep ``alpha``; simulated, with a standard error.
    ``looks``  the ``mean`` of a look is by how much the winner is ahead, and positive where it is.
    ``stop``   why the last look was the last.
    ``detectable``, ``exaggeration``  as in a report on this program's own runs.
    """

    level: float
    standard_error: float
    looks: list[Look]
    verdict: Verdict
    stop: str | None
    from_: list[str]
    detectable: float | None = None
    exaggeration: float | None = None


@dataclass(frozen=True)
class Figures(JsonObject):
    """Every figure of a report. ``runs``: the value of each run. ``search``: point -> the value of its trial."""

    runs: dict[str, float]
    search: dict[str, float]
    confirmation: Confirmation | None
    configurations: dict[str, Configuration]
    comparisons: list[Comparison]
    decision: Decision | None


@dataclass(frozen=True, kw_only=True)
class Report(JsonObject):
    """A report. ``commit`` is that of the code that wrote it."""

    format: int = FORMAT
    kind: str = KIND
    title: str
    written: str
    commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    inputs: Inputs
    figures: Figures
