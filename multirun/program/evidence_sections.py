"""What a verdict on another program's study rests on: results, confirmation, configuration, limits, runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mdaf.multirun.analysis.sentences import chosen_of_the_tied, found_with_power, missing_runs, overstated
from mdaf.multirun.analysis.verdict_rule import MIN_SEEDS
from mdaf.multirun.analysis.wording import ABSENT, interval, listed, number, p_value, several
from mdaf.multirun.program.content import CONFIRMATION, PHASE_4, Comparison, Confirmation, Point, Report
from mdaf.multirun.program.wording import better, confidence_of, difference, failed_runs, value
from mdaf.multirun.report.rendering.blocks import DOTS, Block, Chart, Items, Section, Table, Text

RULE = (
    "A point is 'better' (or 'worse') if the paired t-test over the seeds has p below {level:.4g} and there are at "
    "least {seeds} pairs{margin}. Otherwise the two are 'indistinguishable', which does not mean equal."
)

LIMITS = (
    "The seeds of the runs are all that varies. Whether a difference would also hold on other rows of the same data, "
    "or on other data, is not tested.",
    "Few seeds: the t-test and its intervals rest on the differences being roughly normal, which so few cannot show. "
    "A point that collapses on one seed of ten seldom does so within four, and may be called better wrongly.",
    "A smaller difference than the one that is detectable may exist and stay unseen.",
    "The program, its data and its machine are taken to be the same for all runs. A change of the program's config is "
    "noticed, a change of its code is not.",
)


def results(report: Report) -> Section:
    """The two points over their seeds, and the difference."""
    inputs, figures = report.inputs, report.figures
    values: Mapping[str, float] = figures.runs
    rows = [
        [
            name,
            str(block.spread.n),
            value(block.spread.mean),
            value(block.spread.sd),
            interval(block.spread.t_interval, ".6g"),
            interval(block.spread.bootstrap_interval, ".6g"),
            ", ".join(value(values[run]) for run in block.from_),
        ]
        for name, block in figures.configurations.items()
    ]
    blocks: list[Block] = [
        Chart("spreads", f"{DOTS}, the bar its 95 % interval."),
        Text(f"{inputs.objective} over the seeds of Phase 4, a {better(report)} value is better."),
        Table.of_what_is_known(["point", "seeds", "mean", "sd", "t interval", "bootstrap interval", "values"], rows),
        *failed(report, PHASE_4),
    ]
    if figures.comparisons:
        blocks += [
            Text("The difference, paired by seed. " + _rule(report)),
            Table(
                ["difference", "verdict", "mean", confidence_of(report), "seeds", "effect", "t p", "exact p"],
                [
                    [
                        f"{row.a} - {row.b}",
                        row.verdict,
                        difference(row.mean),
                        interval(row.interval, "+.4g"),
                        str(row.n),
                        number(row.effect),
                        p_value(row.t_p),
                        p_value(row.permutation_p),
                    ]
                    for row in figures.comparisons
                ],
            ),
            *_looks(report),
            Items(_can_find(report)),
        ]
    return Section("Results", blocks)


def _rule(report: Report) -> str:
    inputs, found = report.inputs, report.figures.decision
    level = inputs.alpha if found is None else found.level
    margin = ""
    if inputs.margin is not None:
        margin = f", and 'equivalent' if its interval at that level lies within {inputs.margin:g} of zero"
    return RULE.format(level=level, seeds=MIN_SEEDS, margin=margin)


def _looks(report: Report) -> list[Block]:
    """The looks, by how much the winner was ahead at each."""
    found = report.figures.decision
    if found is None:
        return []
    rows = [
        [
            str(one.planned),
            str(one.n),
            difference(one.mean),
            interval(one.interval, "+.4g"),
            p_value(one.p),
            one.verdict,
        ]
        for one in found.looks
    ]
    head = ["look after", "pairs", f"{report.inputs.winner} ahead by", confidence_of(report), "p", "verdict"]
    return [Table(head, rows)]


def detectable(row: Comparison) -> str:
    """What a comparison could have found."""
    if row.detectable is None:
        return f"{several(row.n, 'pair')} without spread, so nothing can be said of what could be detected."
    return f"{several(row.n, 'pair')} of this spread detect a difference of {row.detectable:.4g} with 80 % power."


def _can_find(report: Report) -> list[str]:
    """What the comparison, or its looks, could have found."""
    found = report.figures.decision
    if found is None:
        return [detectable(row) for row in report.figures.comparisons]
    items = [] if found.detectable is None else [found_with_power(f"{found.detectable:.4g}")]
    return items if found.exaggeration is None else [*items, overstated("A point", found.exaggeration)]


def confirmation(report: Report, found: Confirmation) -> Section:
    """What the sweep promised, and what fresh seeds kept of it."""
    inputs = report.inputs
    rows = [
        [
            row.name,
            number(row.trial),
            value(row.sweep_value),
            value(row.mean),
            value(row.sd),
            str(row.n),
            difference(row.optimism),
            f"{inputs.distances[row.name]:.3f}",
        ]
        for row in found.candidates
    ]
    how = chosen_of_the_tied(found.tied, value(found.noise), inputs.baseline)
    text = (
        "The sweep's best trials and the baseline were run again on fresh seeds. The best of many noisy values "
        "looks better than it is. Optimism is the difference to the mean of the fresh seeds. "
        f"{found.named} is confirmed. {how}"
    )
    head = ["point", "trial", "in the sweep", "confirmed mean", "sd", "seeds", "optimism", "distance from baseline"]
    return Section("Confirmation", [Text(text), Table(head, rows), *failed(report, CONFIRMATION)])


def failed(report: Report, stage: str) -> list[Block]:
    """A sentence on the runs of a stage that failed; nothing if none did."""
    which = failed_runs(report, stage)
    return [Text(missing_runs(which))] if which else []


def configuration(report: Report) -> Section:
    """The points, what differs between the two that are compared, the seeds."""
    inputs = report.inputs
    points = {point.name: point for point in inputs.points}
    shown = [points[inputs.winner], points[inputs.baseline]]
    rows = [[key, *(_setting(point, key) for point in shown)] for key in _keys(shown)]
    if inputs.search_seeds is None:
        known = "The study does not say which seeds its trials had, so nothing keeps these from being among them"
    else:
        known = f"The search had seed {listed(inputs.search_seeds)}, which is none of these"
    stages = "; ".join(f"of {stage}: {listed(seeds)}" for stage, seeds in inputs.seeds.items() if seeds)
    return Section(
        "Configuration",
        [
            Text(
                f"The runs are trials of the study {inputs.runs_of}, each {inputs.program} with one point and one seed."
            ),
            Table(["key", *(point.name for point in shown)], rows),
            Text(f"Seeds ({inputs.seed_key}) {stages}. {known}."),
        ],
        folded=True,
    )


def _keys(points: list[Point]) -> list[str]:
    return list(dict.fromkeys(key for point in points for key in point.params))


def _setting(point: Point, key: str) -> str:
    return _shown(point.params[key]) if key in point.params else ABSENT


def _shown(setting: Any) -> str:
    return number(setting) if isinstance(setting, float) else str(setting)


def validity(report: Report) -> Section:
    """What these figures cannot say."""
    return Section("Limits", [Items(LIMITS)], folded=True)


def runs(report: Report) -> Section:
    """Where every value comes from."""
    inputs = report.inputs
    rows = [[run.id, str(run.trial), value(report.figures.runs[run.id])] for run in inputs.runs]
    text = (
        f"Each run is a trial of the study {inputs.runs_of}, which mdaf-study can be asked about. report.json has "
        "every figure with the runs that it comes from; mdaf-phase4 verify report.json computes all of them again from "
        "the values in the study."
    )
    return Section("Runs", [Text(text), Table(["run", "trial", inputs.objective], rows)], folded=True)
