"""Numbers and names in the sentences of a report on another program's study."""

from __future__ import annotations

from mdaf.multirun.analysis.wording import ABSENT, confidence
from mdaf.multirun.program.content import Report


def value(figure: float | None) -> str:
    """A value of any size."""
    return ABSENT if figure is None else f"{figure:.6g}"


def difference(figure: float | None) -> str:
    """A difference of two values."""
    return ABSENT if figure is None else f"{figure:+.4g}"


def better(report: Report) -> str:
    """Which values of the objective are better: greater or smaller ones."""
    return "greater" if report.inputs.sign > 0 else "smaller"


def confidence_of(report: Report) -> str:
    """What the interval of the difference is called."""
    looks = report.inputs.looks
    return "95 % interval" if looks is None else confidence(report.inputs.alpha, len(looks.planned))


def failed_runs(report: Report, stage: str) -> dict[str, list[int]]:
    """The seeds of a stage without a value, by point."""
    failed = report.inputs.failed.items()
    return {name.removeprefix(f"{stage}/"): seeds for name, seeds in failed if name.startswith(stage)}
