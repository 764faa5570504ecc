"""What a report holds: its inputs, its figures, and the runs from which each figure comes.

The fields of these dataclasses are the keys of report.json, in its order. ``from_`` (in JSON ``from``) names the runs
that a figure was computed from. A run's ``history`` and ``best`` are rows of metrics.csv.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mdaf.conf.schema import Criteria, Pace, Tiers
from mdaf.multirun.analysis.confirmation import Confirmation, ConfirmedCandidate
from mdaf.multirun.analysis.criteria import Assessment
from mdaf.multirun.analysis.deltas import DeltaRow, Rank
from mdaf.multirun.analysis.json_form import from_json, to_json
from mdaf.multirun.analysis.sources import Source
from mdaf.multirun.analysis.statistics import Interval, Spread
from mdaf.multirun.analysis.validity import Analysis, Evidence
from mdaf.multirun.analysis.verdict_rule import Verdict
from mdaf.sweeper.runs.metric_columns import EpochMetrics

SEARCH, CONFIRMATION, PHASE_4 = "search", "confirmation", "phase 4"  # the stages of a run, and the keys of ``seeds``
FORMAT = 1


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
class Inputs:
    """What a report is about, and the rules by which it judges: with the runs, all that its figures need."""

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


@dataclass(frozen=True)
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
    """

    seeds: list[int]
    best_epochs: list[int]
    figures: dict[str, Spread]
    curve: list[dict[str, Any]]
    from_: list[str]


@dataclass(frozen=True)
class DelongFigures:
    """DeLong's test of one seed's two runs on the same rows."""

    difference: float
    standard_error: float
    p: float


@dataclass(frozen=True)
class TestComparison:
    """A comparison on the test split: reported, no ground for a verdict."""

    by_seed: dict[str, float]
    n: int
    mean: float
    sd: float | None
    t_interval: Interval | None
    bootstrap_interval: Interval | None
    t_p: float | None


@dataclass(frozen=True)
class Comparison:
    """The difference ``a - b`` of two configurations in validation AUC, paired by seed, and its verdict.

    ``statistics.Paired`` says what the tests' fields are. ``users_interval`` is the interval over resampled users,
    ``holm_p`` the p of the t-test adjusted over all comparisons of the report.
    """

    a: str
    b: str
    seeds: list[int]
    by_seed: dict[str, float]
    n: int
    mean: float
    sd: float | None
    t_interval: Interval | None
    bootstrap_interval: Interval | None
    effect: float | None
    t_p: float | None
    permutation_p: float
    permutation_floor: float
    detectable: float | None
    seeds_needed: int | None
    delong: dict[str, DelongFigures]
    users_interval: Interval | None
    test: TestComparison | None
    holm_p: float | None
    verdict: Verdict
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


@dataclass(frozen=True)
class EvidenceFigures(Evidence):
    """How much of the planned evidence is there, and which analyses it supports."""

    share: float
    verdict: str
    analyses: list[Analysis]
    from_: list[str]


@dataclass(frozen=True)
class Figures:
    """Every figure of a report."""

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
