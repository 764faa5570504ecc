"""The section Results: every configuration over its seeds, and their differences, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mdaf.multirun.analysis.report_data.content import Comparison, ConfigurationFigures, Report
from mdaf.multirun.analysis.sentences import missing_runs
from mdaf.multirun.analysis.verdict_rule import MIN_SEEDS, RULE
from mdaf.multirun.analysis.wording import (
    auc4,
    confidence,
    interval,
    listed,
    number,
    p_value,
    several,
    signed,
    standard_error,
    within,
)
from mdaf.multirun.report.rendering.blocks import DOTS, Block, Chart, Fold, Items, Section, Table, Text
from mdaf.multirun.report.sections.summary import detectable, spread_in_words
from mdaf.sweeper.runs.metric_columns import IN_A_REPORT, MONITOR, ranking_in

WITH_INTERVALS = ("val_auc", "test_auc", "test_loss", "test_ece")


def results(report: Report) -> Section:
    """Every configuration over its seeds, and the paired comparisons."""
    figures, inputs = report.figures, report.inputs
    split = "test" if any("test_auc" in block.figures for block in figures.configurations.values()) else "validation"
    blocks: list[Block] = [
        Chart("spreads", f"AUC on {split} rows. {DOTS}, the bar its 95 % interval."),
        *_other_monitor(figures.configurations),
        _all_means(figures.configurations),
        Text(
            "Means over the seeds, each run at its best epoch. For every loss, every ECE and train_val_gap, less is "
            "better."
        ),
    ]
    if inputs.failed:
        blocks.append(Text(missing_runs(inputs.failed)))
    blocks += [
        Chart("curves", "Validation and training AUC by epoch: the line is the mean over seeds, the band all of them."),
        Chart(
            "gates", "Share of the static branch in the mix by epoch, mean over seeds, with the widest range of rows."
        ),
    ]
    if figures.comparisons:
        blocks += _pairs(report)
    return Section("Results", [*blocks, _with_intervals(report)])


def _with_intervals(report: Report) -> Fold:
    """Each metric that matters with its spread, and what each run's own best epoch adds."""
    figures = report.figures
    blocks: list[Block] = [
        Text(
            "Mean and standard deviation over the seeds, each run at its best epoch, with 95 % intervals of the mean. "
            "A bootstrap interval needs 5 seeds. Where a metric has bounds, its interval is cut off there."
        ),
        Items([spread_in_words(name, block) for name, block in figures.configurations.items()]),
    ]
    for name in WITH_INTERVALS:
        bounds = (0.0, math.inf) if name.endswith("_loss") else (0.0, 1.0)
        rows = [
            [
                point,
                str(block.figures[name].n),
                auc4(block.figures[name].mean),
                auc4(block.figures[name].sd),
                interval(within(block.figures[name].t_interval, *bounds)),
                interval(within(block.figures[name].bootstrap_interval, *bounds)),
            ]
            for point, block in figures.configurations.items()
            if name in block.figures
        ]
        if rows:
            head = [name, "seeds", "mean", "sd", "t interval", "bootstrap interval"]
            blocks.append(Table.of_what_is_known(head, rows))
    return Fold("Each configuration with its intervals", [*blocks, *_best_epochs(figures.configurations)])


def _other_monitor(configurations: Mapping[str, ConfigurationFigures]) -> list[Block]:
    """Which metric decides the best epoch, where it is not the validation AUC."""
    others = {point: block.monitor for point, block in configurations.items() if block.monitor is not None}
    if not others:
        return []
    which = listed(sorted(set(others.values())))
    of = "" if len(others) == len(configurations) else f" of {listed(list(others))}"
    return [Text(f"The best epoch{of} is that of the best {which} (training.monitor), not of the highest val_auc.")]


def _best_epochs(configurations: Mapping[str, ConfigurationFigures]) -> list[Block]:
    """What it adds to the metric that decides the best epoch that each run has its own."""
    known = {point: block for point, block in configurations.items() if block.epoch_optimism is not None}
    if not known:
        return []
    rows = [
        [point, ", ".join(map(str, block.best_epochs)), signed(block.epoch_optimism)] for point, block in known.items()
    ]
    decide = sorted({block.monitor or MONITOR for block in known.values()})
    flattered = "validation AUC" if decide == [MONITOR] else listed(decide)
    text = (
        f"A run's best epoch is chosen on the validation rows, which flatters its {flattered} there, and not equally "
        "for all configurations. Below is how much the mean gains beside the best epoch of the mean curve; the test "
        "split is free of it."
    )
    return [Text(text), Table(["configuration", "best epoch of each seed", f"gain in {listed(decide)}"], rows)]


def _all_means(configurations: Mapping[str, ConfigurationFigures]) -> Table:
    figures = [block.figures for block in configurations.values()]
    rows, names = [], [*(name for name in IN_A_REPORT if any(name in one for one in figures)), *ranking_in(figures)]
    for point, block in configurations.items():
        means = (block.figures.get(name) for name in names)
        rows.append([point, *(auc4(found.mean if found else None) for found in means)])
    return Table(["mean of", *names], rows)


def _pairs(report: Report) -> list[Block]:
    """The differences with their verdicts, then, folded, what each of them rests on."""
    figures, inputs = report.figures, report.inputs
    asked = figures.decision
    rule = (
        RULE.format(alpha=inputs.alpha, seeds=MIN_SEEDS)
        if asked is None
        else "The rule stands in the section Decision."
    )
    rows = [
        [
            f"{row.a} - {row.b}",
            row.verdict,
            signed(row.mean),
            interval(row.interval, "+.5f"),
            str(row.n),
            p_value(row.p),
            p_value(row.holm_p),
        ]
        for row in figures.comparisons
    ]
    head = ["difference", "verdict", "mean", "interval", "seeds", "p", "adjusted p"]
    level = _level(report)
    beside: list[Block] = []
    if asked is not None and len(figures.comparisons) > 1:
        beside.append(Chart("secondary", f"The secondary differences, with {level}."))
    raw = [
        *_behind(figures.comparisons, level),
        *_on_other_rows(figures.comparisons),
        *_rows_of_pairs(figures.comparisons, inputs.rows),
    ]
    return [
        Text(f"Differences in AUC on {inputs.rows} rows, paired by seed. {rule}"),
        Table(head, rows, "Differences"),
        *([Items([detectable(row) for row in figures.comparisons])] if asked is None else []),
        *beside,
        Fold("Errors and tests behind the differences", raw),
    ]


def _level(report: Report) -> str:
    """What the intervals of the differences are called."""
    asked, looks = report.figures.decision, report.inputs.looks
    return "95 %" if asked is None or looks is None else f"the {confidence(asked.alpha, len(looks.planned))}"


def _behind(comparisons: Sequence[Comparison], level: str) -> list[Block]:
    """The errors and tests of each difference."""
    floors = sorted({(row.n, row.permutation_floor) for row in comparisons})
    said = "; ".join(f"at {several(n, 'pair')} it cannot fall below {floor:.4g}" for n, floor in floors)
    text = (
        f"Interval ({level}) and p have both errors, that of seeds and that of users. The t p is of the seeds alone. "
        f"The exact p is that of all sign flips of the differences; {said}. These two are reported and decide nothing."
    )
    head = ["effect", "error of seeds", "error of users", "p", "adjusted p", "t p", "exact p"]
    rows = [
        [
            f"{row.a} - {row.b}",
            number(row.effect),
            standard_error(None if row.sd is None else row.sd / math.sqrt(row.n)),
            standard_error(row.users_error),
            p_value(row.p),
            p_value(row.holm_p),
            p_value(row.t_p),
            p_value(row.permutation_p),
        ]
        for row in comparisons
    ]
    return [Text(text), Table.of_what_is_known(["difference", *head], rows, "What each difference rests on")]


def _on_other_rows(comparisons: Sequence[Comparison]) -> list[Block]:
    """The same differences on the rows that do not decide, and how the seeds of the two go together."""
    rows = [
        [
            f"{row.a} - {row.b}",
            "-" if row.seed_correlation is None else f"{row.seed_correlation:+.2f}",
            signed(other.mean if other else None),
            interval(other.t_interval if other else None, "+.5f"),
            p_value(other.t_p if other else None),
        ]
        for row in comparisons
        for other in [row.validation or row.test]
    ]
    split = next(("validation" if row.validation else "test" for row in comparisons if row.validation or row.test), "")
    if not split and all(row.seed_correlation is None for row in comparisons):
        return []
    text = (
        "The correlation of seeds says whether a seed that is good for one configuration is good for the other too. "
        "Where it is high, pairing by seed makes intervals narrower; where it is negative, it makes them wider. "
    )
    other = f"The last three columns are of the {split} rows, on which nothing is decided." if split else ""
    head = ["difference", "correlation of seeds", f"mean on {split or 'other'} rows", "t interval", "t p"]
    return [Text(text + other), Table.of_what_is_known(head, rows)]


def _rows_of_pairs(comparisons: Sequence[Comparison], split: str) -> list[Block]:
    rows = [
        [
            f"{row.a} - {row.b}",
            seed,
            signed(one.difference),
            f"{one.standard_error:.5f}",
            p_value(one.p),
            p_value(one.holm_p),
        ]
        for row in comparisons
        for seed, one in row.delong.items()
    ]
    if not rows:
        return [Text("Scores of single rows were not kept, so there is no comparison on the same rows.")]
    text = (
        f"The same two models on the same {split} rows, seed by seed (DeLong), with p adjusted over all of these tests "
        "(Holm). It takes rows as independent, which the rows of one user are not; the error of users above draws "
        "users whole. It says nothing of other seeds, and decides nothing."
    )
    head = ["difference", "seed", "AUC difference", "standard error", "p", "adjusted p"]
    return [Text(text), Table(head, rows)]
