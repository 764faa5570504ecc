"""Markdown of what the repetitions of each design came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.racing.world import Cell, Outcome
from benchmarks.surrogates.landscapes import BP


def table(cell: Cell, found: Mapping[str, Sequence[Outcome]]) -> str:
    """Markdown, in 1e-4 of AUC and per cent, with standard errors."""
    title = f"{cell.landscape}, noise {cell.noise / BP:g} bp, {100 * cell.common:g} % of it common to a seed"
    title += f", rows {cell.rows:g} of the noise" if cell.rows else ""
    lines = [f"### {title}\n", "| design | runs | regret, bp | optimism, bp | better | false better |"]
    lines.append("|---" + "|---:" * 5 + "|")
    for design, outcomes in found.items():
        columns = np.array(outcomes, dtype=float).T
        runs, regret, optimism, better, false = columns
        numbers = [f"{runs.mean():.1f}", _shown(regret / BP), _shown(optimism / BP), _percent(better), _percent(false)]
        lines.append(f"| {' | '.join([design, *numbers])} |")
    return "\n".join(lines) + "\n"


def _shown(values: np.ndarray) -> str:
    if np.isnan(values).any():
        return "-"
    return f"{values.mean():.1f} ± {values.std(ddof=1) / math.sqrt(len(values)):.1f}"


def _percent(values: np.ndarray) -> str:
    share = values.mean()
    return f"{100 * share:.1f} ± {100 * math.sqrt(share * (1 - share) / len(values)):.1f} %"


def false_on_flat(found: Mapping[Cell, Mapping[str, Sequence[Outcome]]]) -> str:
    """Markdown: how often each design says "better" where nothing is, over all flat cells, by what rows do."""
    flat = {cell: by_design for cell, by_design in found.items() if cell.landscape == "flat"}
    if not flat:
        return ""
    sizes = sorted({cell.rows for cell in flat})
    groups = {f"rows {size:g}" if size else "no row noise": [size] for size in sizes}
    if len([size for size in sizes if size]) > 1:
        groups["all with row noise"] = [size for size in sizes if size]
    if len(groups) > 1:
        groups["all"] = sizes
    lines = ['### False "better", all flat cells together\n', f"| design | {' | '.join(groups)} |"]
    lines.append("|---" + "|---:" * len(groups) + "|")
    for design in next(iter(flat.values())):
        columns = [
            np.array([one.false for cell in flat if cell.rows in group for one in flat[cell][design]], dtype=float)
            for group in groups.values()
        ]
        lines.append(f"| {design} | {' | '.join(f'{_percent(column)} of {len(column)}' for column in columns)} |")
    return "\n".join(lines)
