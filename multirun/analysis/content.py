"""What a report holds: its inputs, its figures, and the runs from which each figure comes.

The fields of these dataclasses are the keys of report.json, in its order. ``from_`` (in JSON ``from``) names the runs
that a figure was computed from. A run's ``history`` and ``best`` are rows of metrics.csv.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mdaf.conf.schema import Criteria, Pace, Tiers
from mdaf.multirun.analysis.comparisons import ComparedPair
from mdaf.multirun.analysis.confirmation import Confirmation, ConfirmedCandidate
from mdaf.multirun.analysis.criteria import Assessment
from mdaf.multirun.analysis.deltas import DeltaRow, Rank
from mdaf.multirun.analysis.json_form import from_json, to_json
from mdaf.multirun.analysis.looks.decision import Look, Stop
from mdaf.multirun.analysis.sources import Source
from mdaf.multirun.analysis.statistics import Interval, Spread
from mdaf.multirun.analysis.validity import Analysis, Evidence
from mdaf.multirun.analysis.verdict_rule import Verdict
from mdaf.sweeper.runs.metric_columns import EpochMetrics

SEARCH, CONFIRMATION, PHASE_4 = "search", "confirmation", "phase 4"  # the stages of a run, and the keys of ``seeds``
FORMAT = 2


# ---- inputs


@dataclass(frozen=True)
class ReportPoint:
    """A configuration that is compared: its trial, its overrides, and its values of the searched parameters."""

    name: str
    trial: int | None
    overrides: list[str]
    values: dict[str, float]


@dataclass(frozen=True)
class Change:
    """A key in which configurations differ, and the value that each of them has."""

    key: str
    values: dict[str, Any]


@dataclass(frozen=True)
class CandidateInput:
    """A configuration that confirmation may name the winner; ``sweep_value`` is None if the search did not run it."""

    name: str
    trial: int | None
    sweep_value: float | None
    distance: float
    overrides: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SearchTrial:
    """A trial of the study. ``known``: the known point that it is; ``run``: the id of its run, if that is here."""

    trial: int
    state: str
    params: dict[str, Any]
    value: float | None
    eligible: bool = True
    known: str | None
    run: str | None


@dataclass(frozen=True, kw_only=True)
class Looks:
    """When the question ``a`` against ``b`` was to be looked at, and the seeds of the looks that were made.

    ``other_plans``     looks of this very question that were made under another plan.
    ``other_questions``  that were looked at for the same study.
    """

    a: str
    b: str
    planned: list[int]
    futility: int | None
    made: list[list[int]]
    other_plans: list[str] = field(default_factory=list)
    other_questions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Claim:
    """What the search or its confirmation said of the winner. ``value`` None: the confirmed mean, which is a figure.

    ``standard_error``  of a posterior mean.
    """

    by: str
    point: str
    value: float | None = None
    standard_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a report is about, and the rules by which it judges: with the runs, all that its figures need.

    ``rows``    the split on which differences are decided: ``test`` or ``validation``.
    ``forced``  preconditions that were not met and that ``force=true`` went past, in words.
    ``search_epochs``  of the study's trials, where the runs that are compared have another number.
    ``judged``  whether configurations are judged by the criteria (``mdaf.sweeper.job.criteria.are_meant``). Reports
                that do not say so judged them all.
    """

    title: str
    study: str | None
    winner: str | None
    winner_trial: int | None
    points: list[ReportPoint]
    changes: list[Change]
    candidates: list[CandidateInput]
    comparisons: list[list[str]]
    epochs: int
    seeds: dict[str, list[int]]
    failed: dict[str, list[int]]
    failed_confirmation: dict[str, list[int]] | None = None
    trials: list[SearchTrial]
    criteria: Criteria
    alpha: float
    resamples: int
    pace: Pace
    tiers: Tiers
    runs: list[Source]
    rows: str = "validation"  # those that decide; of reports before format 2 these
    design: str | None = None
    margin: float | None = None
    looks: Looks | None = None
    claim: Claim | None = None
    forced: list[str] = field(default_factory=list)
    search_epochs: int | None = None
    judged: bool = True

    def to_json(self) -> dict[str, Any]:
        """As report.json holds it."""
        found: dict[str, Any] = to_json(self)
        return found


# ---- figures


@dataclass(frozen=True)
class SearchFigure:
    """The value of a trial, read from its run and not from the study."""

    trial: int
    value: float
    from_: list[str]


@dataclass(frozen=True)
class RunFigures:
    """A run's own figures."""

    best_epoch: int
    epochs: int
    best: EpochMetrics
    metrics_sha256: str
    test_auc: float | None
    history: list[EpochMetrics]
    test_loss: float | None = None
    test_ece: float | None = None


@dataclass(frozen=True, kw_only=True)
class CandidateFigures(ConfirmedCandidate):
    """A candidate on the confirmation seeds."""

    from_: list[str]


@dataclass(frozen=True)
class ConfirmationFigures(Confirmation):
    """What confirmation came to."""

    candidates: list[CandidateFigures]
    from_: list[str]


@dataclass(frozen=True)
class ConfigurationFigures:
    """A configuration over its seeds: the spread of each metric at the best epoch, and the mean curve.

    A point of ``curve`` holds ``epoch``, and for each metric the mean, lowest and highest value, or None.
    ``epoch_optimism``  how much the mean of the metric that decides the best epoch gains by choosing each run's best
                        epoch by itself, beside the best epoch of the mean curve: a lower bound of what that choice
                        flatters.
    ``monitor``         the metric that decides the best epoch; None: the validation AUC.
    """

    seeds: list[int]
    best_epochs: list[int]
    figures: dict[str, Spread]
    curve: list[dict[str, Any]]
    from_: list[str]
    epoch_optimism: float | None = None
    monitor: str | None = None


@dataclass(frozen=True)
class OtherRows:
    """A comparison on the rows that do not decide: reported, no ground for a verdict."""

    by_seed: dict[str, float]
    n: int
    mean: float
    sd: float | None
    t_interval: Interval | None
    bootstrap_interval: Interval | None
    t_p: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison(ComparedPair):
    """A comparison in AUC on the rows that decide, ``Inputs.rows``; on the others as ``validation`` or ``test``."""

    validation: OtherRows | None = None
    test: OtherRows | None = None
    from_: list[str]


@dataclass(frozen=True, kw_only=True)
class DecisionFigures:
    """The one question that Phase 4 asks: is ``a`` better than ``b``? Looked at until it is answered.

    ``level``           two-sided, of each look, so that all of them together have the error ``alpha``.
    ``standard_error``  of that error, which was simulated.
    ``verdict``         of ``a`` against ``b`` at the last look that was made; ``stop``: why it was the last.
    ``deploy``          ``a`` if it is better, else ``b``.
    ``detectable``      the true difference that these looks find with 80 %, at the spread that was seen.
    ``exaggeration``    by what share of itself that difference is too large on average where it is called better, since
                        that is said where the mean happens to be large.
    ``false_better``    how often such looks call ``a`` better where it is equal.
    """

    a: str
    b: str
    rows: str
    alpha: float
    level: float
    standard_error: float
    looks: list[Look]
    verdict: Verdict
    stop: Stop | None
    deploy: str
    detectable: float | None
    false_better: float
    from_: list[str]
    exaggeration: float | None = None


@dataclass(frozen=True)
class ClaimFigures:
    """What was said of the named winner before Phase 4, and what fresh seeds kept of it, in validation AUC.

    ``by``              how the winner was named. ``optimism``: the claim less the mean over ``n`` fresh seeds.
    ``standard_error``  of that mean, and so of the optimism: the claim itself is a given number.
    """

    by: str
    point: str
    claimed: float
    fresh: float
    n: int
    optimism: float
    standard_error: float | None
    from_: list[str]


@dataclass(frozen=True)
class DeltaTable:
    """The mean metrics of two configurations side by side."""

    baseline: str
    other: str
    rows: list[DeltaRow]
    from_: list[str]


@dataclass(frozen=True)
class RankFigures(Rank):
    """A configuration's rank by mean validation AUC."""

    from_: list[str]


@dataclass(frozen=True)
class CriteriaFigures(Assessment):
    """A configuration against the success criteria, on its mean curve."""

    from_: list[str]


@dataclass(frozen=True)
class RunTimes:
    """How long a run's epochs took, in seconds."""

    run: str
    device: str
    seconds: float
    median_epoch: float
    slowest_epoch: float
    slow_epochs: list[int]


@dataclass(frozen=True)
class Infrastructure:
    """Times, devices, commits and data of all runs; ``slow`` are the runs that have a slow epoch."""

    runs: list[RunTimes]
    epochs: int
    seconds: float
    slow: list[str]
    devices: list[str]
    commits: list[str]
    data: list[str]


@dataclass(frozen=True, kw_only=True)
class EvidenceFigures(Evidence):
    """How much of the planned evidence is there, and which analyses it supports."""

    share: float
    verdict: str
    analyses: list[Analysis]
    from_: list[str]


@dataclass(frozen=True)
class Figures:
    """Every figure of a report.

    ``noise``  standard deviation of one seed's AUC, pooled over the configurations, by split.
    ``spent``  runs by stage.
    """

    search: list[SearchFigure]
    runs: dict[str, RunFigures]
    confirmation: ConfirmationFigures | None
    configurations: dict[str, ConfigurationFigures]
    comparisons: list[Comparison]
    deltas: list[DeltaTable]
    ranking: list[RankFigures]
    criteria: dict[str, CriteriaFigures]
    infrastructure: Infrastructure
    evidence: EvidenceFigures
    decision: DecisionFigures | None = None
    claim: ClaimFigures | None = None
    noise: dict[str, float] | None = None
    spent: dict[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """As report.json holds it."""
        found: dict[str, Any] = to_json(self)
        return found


# ---- the report


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report. ``commit`` is that of the code that wrote it, None where it was not written to a file."""

    format: int = FORMAT
    title: str
    written: str = ""
    commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    inputs: Inputs
    figures: Figures
    test_reads: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """As report.json holds it."""
        found: dict[str, Any] = to_json(self)
        return found

    @staticmethod
    def from_json(content: Any) -> Report:
        """From report.json; KeyError or TypeError if it is none."""
        return from_json(Report, content)
