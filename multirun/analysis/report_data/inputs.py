"""What a report is about, and by which rules it judges: with the runs, all that its figures need.

The fields of these dataclasses are keys of report.json, in its order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mdaf.conf.schema import Criteria, Pace, Tiers
from mdaf.multirun.analysis.report_data.json_form import JsonObject
from mdaf.multirun.analysis.report_data.sources import Source

SEARCH, CONFIRMATION, PHASE_4 = "search", "confirmation", "phase 4"  # the stages of a run, and the keys of ``seeds``


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
class Inputs(JsonObject):
    """What a report is about, and the rules by which it judges: with the runs, all that its figures need.

    ``rows``    the split on which differences are decided: ``test`` or ``validation``.
    ``forced``  preconditions that were not met and that ``force=true`` went past, in words.
    ``search_epochs``  of the study's trials, where the runs that are compared have another number.
    ``judged``  whether configurations are judged by the criteria (``mdaf.sweeper.job.criteria.are_meant``). Reports
                that do not say so judged them all.
    ``research``  whether all runs are of the research's model and data, so that points stand for phases of it
                (``mdaf.sweeper.job.criteria.is_the_research``).
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
    research: bool = False
