"""Markdown of what ``benchmarks.results`` found: figures, differences to MDAF-Mamba in pairs of a seed, points."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.results.contenders import CONTENDERS, REFERENCE
from mdaf.multirun.analysis.statistics import holm, paired

FIGURES = ("AUC", "gAUC", "AUC, item new", "log loss", "ECE")
COMPARED = ("AUC", "AUC, item new", "log loss", "ECE")


def tables(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of all tables, of the contenders that are finished."""
    found = results["contenders"]
    ranked = sorted(found, key=lambda name: -statistics.mean(found[name]["figures"]["test"]["AUC"]))
    yield from _figures(results, [name for name in ranked if not CONTENDERS[name].at_point_of])
    if REFERENCE in found:
        yield from _differences(found, [name for name in ranked if not CONTENDERS[name].at_point_of])
        ablations = [name for name in ranked if CONTENDERS[name].at_point_of]
        if ablations:
            yield from _differences(found, [REFERENCE, *ablations])
    yield from _points(results)


def _figures(results: Mapping[str, Any], ranked: list[str]) -> Iterator[str]:
    yield f"| model | validation AUC | {' | '.join(f'test {figure}' for figure in FIGURES)} |"
    yield "|---|" + "---:|" * (1 + len(FIGURES))
    for name in ranked:
        figures = results["contenders"][name]["figures"]
        cells = [_spread(figures["validation"]["AUC"]), *(_spread(figures["test"][figure]) for figure in FIGURES)]
        yield f"| {name} | {' | '.join(cells)} |"
    if oracle := results.get("oracle"):
        cells = [oracle["validation"]["AUC"], *(oracle["test"][figure] for figure in FIGURES)]
        yield f"| oracle: no model can pass | {' | '.join(f'{value:.4f}' for value in cells)} |"
    for rule, by_split in results.get("rules", {}).items():
        yield f"| rule: {rule} | {by_split['validation']:.4f} | {by_split['test']:.4f} |{' |' * (len(FIGURES) - 1)}"
    yield ""


def _differences(found: Mapping[str, Any], names: list[str]) -> Iterator[str]:
    """Each contender less ``REFERENCE`` on test: mean, 95 % t interval, Holm's p over the contenders of the table."""
    others = [name for name in names if name != REFERENCE]
    rng = np.random.default_rng(0)
    pairs = {
        figure: [
            paired(_of(found, name, figure), _of(found, REFERENCE, figure), rng, tests=len(others)) for name in others
        ]
        for figure in COMPARED
    }
    adjusted = {figure: holm([pair.t_p for pair in pairs[figure]]) for figure in COMPARED}
    yield f"| less {REFERENCE}, on test | {' | '.join(f'{figure} [95 % interval] | p' for figure in COMPARED)} |"
    yield "|---|" + "---:|" * (2 * len(COMPARED))
    for place, name in enumerate(others):
        cells = []
        for figure in COMPARED:
            spread, p = pairs[figure][place].spread, adjusted[figure][place]
            low, high = spread.t_interval or (spread.mean, spread.mean)
            cells += [f"{spread.mean:+.4f} [{low:+.4f}, {high:+.4f}]", "" if p is None else f"{p:.3f}"]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def _points(results: Mapping[str, Any]) -> Iterator[str]:
    """The point that each contender was given, and how the validation AUC of its trials was spread."""
    yield "| model | point | validation AUC of the trials: best | median | worst |"
    yield "|---|---|---:|---:|---:|"
    for name in CONTENDERS:
        if trials := results["tuning"].get(name):
            values = [trial["value"] for trial in trials]
            best = max(trials, key=lambda trial: trial["value"])
            point = ", ".join(override[override.partition("=")[0].rfind(".") + 1 :] for override in best["overrides"])
            shown = (max(values), statistics.median(values), min(values))
            yield f"| {name} | {point} | {' | '.join(f'{value:.4f}' for value in shown)} |"


def _of(found: Mapping[str, Any], name: str, figure: str) -> list[float]:
    return found[name]["figures"]["test"][figure]


def _spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"
