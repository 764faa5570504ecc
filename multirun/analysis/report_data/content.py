"""What a report holds beside its inputs: its figures, and the runs from which each figure comes.

The fields of these dataclasses are the keys of report.json, in its order. ``from_`` (in JSON ``from``) names the runs
that a figure was computed from. A run's ``history`` and ``best`` are rows of metrics.csv.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mdaf.multirun.analysis.comparisons import ComparedPair
from mdaf.multirun.analysis.confirmation import Confirmation, ConfirmedCandidate
from mdaf.multirun.analysis.deltas import DeltaRow, Rank
from mdaf.multirun.analysis.judging.criteria import Assessment
from mdaf.multirun.analysis.judging.validity import Analysis, Evidence
from mdaf.multirun.analysis.looks.decision import Look, Stop
from mdaf.multirun.analysis.report_data.inputs import Inputs
from mdaf.multirun.analysis.report_data.json_form import JsonObject
from mdaf.multirun.analysis.statistics import Interval, Spread
from mdaf.multirun.analysis.verdict_rule import Verdict
from mdaf.sweeper.runs.metric_columns import EpochMetrics

FORMAT = 2


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
class Figures(JsonObject):
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


@dataclass(frozen=True, kw_only=True)
class Report(JsonObject):
    """A report. ``commit`` is that of the code that wrote it, None where it was not written to a file."""

    format: int = FORMAT
    title: str
    written: str = ""
    commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    inputs: Inputs
    figures: Figures
    test_reads: list[dict[str, Any]]
