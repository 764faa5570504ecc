"""The sections of a report on another program's study, in plain sentences that are filled from figures alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mdaf.multirun.analysis.verdict_rule import MIN_SEEDS
from mdaf.multirun.analysis.wording import (
    ABSENT,
    caveat_of_force,
    caveat_of_other_plans,
    confidence,
    interval,
    listed,
    number,
    p_value,
    several,
)
from mdaf.multirun.program.content import CONFIRMATION, PHASE_4, Comparison, Confirmation, Decision, Point, Report
from mdaf.multirun.report.blocks import DOTS, Block, Chart, Items, Section, Table, Text, Verdict
from mdaf.multirun.report.pages import Drawn
from mdaf.multirun.report.pictures import differences, spreads
from mdaf.pages.palette import colours_of
from mdaf.sweeper.hydra_ext.overrides import override_text, words

RULE = (
    "A point is 'better' (or 'worse') if the paired t-test over the seeds has p below {level:.4g} and there are at "
    "least {seeds} pairs{margin}. Otherwise the two are 'indistinguishable', which does not mean equal."
)
SEEDS_ALONE = (
    "The error is that of the seeds alone, since only the program knows its rows. If it evaluates all runs on the same "
    "rows, these have also chosen the winner, and what they happen to favour counts as better."
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


def value(figure: float | None) -> str:
    """A value of any size."""
    return ABSENT if figure is None else f"{figure:.6g}"


def difference(figure: float | None) -> str:
    """A difference of two values."""
    return ABSENT if figure is None else f"{figure:+.4g}"


def sections(report: Report) -> list[Section]:
    """All sections in their order, the answer first."""
    found = [verdict_section(report), findings(report), results(report)]
    if report.figures.confirmation is not None:
        found.append(confirmation(report, report.figures.confirmation))
    return [*found, configuration(report), validity(report), runs(report)]


def colours(report: Report) -> dict[str, str]:
    """The colour of each point, the same in all charts."""
    inputs = report.inputs
    return colours_of([inputs.winner, inputs.baseline, *inputs.candidates], inputs.winner)


def charts(report: Report) -> dict[str, Drawn]:
    """The charts by name."""
    inputs, figures = report.inputs, report.figures
    rows = {
        name: ([figures.runs[run] for run in block.from_], block.spread.mean, block.spread.t_interval)
        for name, block in figures.configurations.items()
    }
    return {
        "pairs": differences(
            figures.comparisons,
            f"difference in {inputs.objective}",
            colours(report),
            margin=inputs.margin,
            greater_is_better=inputs.sign > 0,
        ),
        "spreads": spreads(rows, inputs.objective, colours(report)),
    }


def _better(report: Report) -> str:
    return "greater" if report.inputs.sign > 0 else "smaller"


def verdict_section(report: Report) -> Section:
    """The answer, its picture, what to take, and the line that runs it."""
    inputs, rows = report.inputs, report.figures.comparisons
    if not rows:
        nothing = "No seed has a value of both points, so nothing was compared."
        return Section("Verdict", [Verdict(lead=nothing, caveats=_caveats(report), why="", chart=None, deploy="")])
    [row] = rows
    chosen = inputs.winner if row.verdict == "better" else inputs.baseline
    point = next(point for point in inputs.points if point.name == chosen)
    overrides = [override_text(f"{inputs.signs.get(key, '')}{key}", held) for key, held in point.params.items()]
    margin = "" if inputs.margin is None else f" The grey band is the margin of ±{inputs.margin:g}."
    return Section(
        "Verdict",
        [
            Verdict(
                lead=_lead(row),
                caveats=_caveats(report),
                why=f"{_behind(report, row)} {SEEDS_ALONE}",
                chart=Chart("pairs", f"{DOTS}, the bar its {_confidence(report)}.{margin}"),
                deploy=_what_to_take(report, row),
                command=f"{inputs.program} {words(overrides)}".rstrip(),
                note=f"This runs {chosen} again, with the defaults of the program for all else.",
            )
        ],
    )


def _has_no_spread(row: Comparison) -> bool:
    return row.holm_p is None and bool(row.mean) and row.n >= MIN_SEEDS


def _lead(row: Comparison) -> str:
    if _has_no_spread(row):
        return f"{row.a} and {row.b} get no verdict."
    if row.verdict in ("indistinguishable", "equivalent"):
        within = ", within the margin" if row.verdict == "equivalent" else ""
        return f"{row.a} and {row.b} are {row.verdict}{within}."
    return f"{row.a} is {row.verdict} than {row.b}."


def _behind(report: Report, row: Comparison) -> str:
    """The figures behind the verdict."""
    if _has_no_spread(row):
        return (
            f"The mean difference is {difference(row.mean)}, the same number on each of {several(row.n, 'seed')}. The "
            "paired t-test weighs a difference against its spread, and there is none."
        )
    figures = f"The mean difference is {difference(row.mean)} over {several(row.n, 'seed')}"
    if row.interval is not None:
        decision = report.figures.decision
        level = report.inputs.alpha if decision is None else decision.level
        figures += f", {_confidence(report)} {interval(row.interval, '+.4g')}"
        figures += f", p {p_value(row.holm_p)} against a level of {level:.4g}"
    return f"{figures}."


def _what_to_take(report: Report, row: Comparison) -> str:
    winner, baseline = report.inputs.winner, report.inputs.baseline
    if row.verdict == "better":
        return f"Take {winner}: it is better than {baseline}."
    if row.verdict == "equivalent":
        return f"Keep {baseline}, or take the cheaper of the two: the interval lies within the margin."
    if row.verdict == "worse":
        return f"Keep {baseline}: it is better than {winner}."
    return (
        f"{winner} is not shown to be better than {baseline}, nor to be no better. Keep {baseline}, the baseline, or "
        "the cheaper of the two."
    )


def findings(report: Report) -> Section:
    """What was found beside the verdict."""
    inputs, figures = report.inputs, report.figures
    sentences = []
    if figures.decision is not None:
        sentences.append(_looked(report, figures.decision))
    fresh = "seeds that the search did not use" if inputs.search_seeds is not None else "seeds of its own"
    sentences.append(
        f"The points are judged by {inputs.objective}; a {_better(report)} value is better. "
        f"{several(len(inputs.runs), 'run')} on {fresh} were made after the search."
    )
    for name, block in figures.configurations.items():
        spread = "" if block.spread.sd is None else f" ± {value(block.spread.sd)} (standard deviation)"
        sentences.append(
            f"{name}: {value(block.spread.mean)}{spread} over {several(block.spread.n, 'seed')}, 95 % interval of the "
            f"mean {interval(block.spread.t_interval, '.6g')}."
        )
    found = figures.confirmation
    if found is None and inputs.raced:
        sentences.append(
            f"{inputs.winner} is a run of the point that the race named: of all points but {inputs.baseline} it has "
            "the best posterior mean over all runs."
        )
    elif found is None:
        sentences.append(f"{inputs.winner} is the best trial at face value; it was not confirmed on other seeds.")
    else:
        row = next((row for row in found.candidates if row.name == inputs.winner), None)
        if row is not None and row.optimism is not None:
            error = "" if row.optimism_error is None else f" ± {row.optimism_error:.4g} (one standard error)"
            sentences.append(
                f"The sweep said {value(row.sweep_value)} of {row.name}, fresh seeds say {value(row.mean)}: the sweep "
                f"was {abs(row.optimism):.4g}{error} too {'optimistic' if row.optimism > 0 else 'pessimistic'}."
            )
        if found.named == inputs.baseline:
            sentences.append(
                f"On the confirmation seeds no point was ahead of {inputs.baseline} by more than the noise; "
                f"{inputs.winner} has the best mean of the others, and is compared with it."
            )
    return Section("Findings", [Items(sentences)])


def _caveats(report: Report) -> list[str]:
    """What qualifies every figure: what was forced, runs that failed, looks beside the plan."""
    inputs, found = report.inputs, []
    if inputs.forced:
        found.append(caveat_of_force(inputs.forced))
    if failed := _failed_runs(report, PHASE_4):
        found.append(
            f"Runs failed: {failed}. Only seeds on which both points have a value are compared. How often one of them "
            "fails is no part of the verdict."
        )
    if inputs.looks is not None and inputs.looks.other_plans:
        found.append(caveat_of_other_plans(inputs.looks.other_plans, inputs.alpha))
    return found


def _confidence(report: Report) -> str:
    """What the interval of the difference is called."""
    looks = report.inputs.looks
    return "95 % interval" if looks is None else confidence(report.inputs.alpha, len(looks.planned))


def _looked(report: Report, found: Decision) -> str:
    looks = report.inputs.looks
    assert looks is not None
    why = {
        "verdict": "the question was answered there",
        "futility": f"no more seeds were run, since {report.inputs.winner} was not ahead",
        "last look": "that was the last look",
    }.get(str(found.stop), "the question is open")
    other = (
        f" Beside this question, looks were made for this study at others: {'; '.join(looks.other_questions)}. Each of "
        f"them has an error of {report.inputs.alpha:g} of its own."
        if looks.other_questions
        else ""
    )
    times = "once" if len(found.looks) == 1 else several(len(found.looks), "time")
    return (
        f"Looks were planned after {listed(looks.planned)} pairs of seeds. The study was looked at {times}: {why}. "
        f"Each look is tested at {found.level:.4g}, so that all of them "
        f"together have an error of {report.inputs.alpha:g}.{other}"
    )


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
    if len(found.tied) == 1:
        how = f"Its mean is the best, and no other lies within the noise of {value(found.noise)}."
    else:
        how = (
            f"{listed(found.tied)} lie within the noise of {value(found.noise)}, one standard error of a difference of "
            f"two means, so the one nearest to {inputs.baseline} is taken."
        )
    text = (
        "The sweep's best trials and the baseline were run again on fresh seeds. The best of many noisy values "
        "looks better than it is. Optimism is the difference to the mean of the fresh seeds. "
        f"{found.named} is confirmed. {how}"
    )
    head = ["point", "trial", "in the sweep", "confirmed mean", "sd", "seeds", "optimism", "distance from baseline"]
    return Section("Confirmation", [Text(text), Table(head, rows), *_failed(report, CONFIRMATION)])


def _failed(report: Report, stage: str) -> list[Block]:
    which = _failed_runs(report, stage)
    return [Text(f"Some runs failed and are missing from all figures: {which}.")] if which else []


def _failed_runs(report: Report, stage: str) -> str:
    failed = {
        name.removeprefix(f"{stage}/"): seeds for name, seeds in report.inputs.failed.items() if name.startswith(stage)
    }
    return "; ".join(f"{point} on seed {listed(seeds)}" for point, seeds in failed.items())


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
        Text(f"{inputs.objective} over the seeds of Phase 4, a {_better(report)} value is better."),
        Table(["point", "seeds", "mean", "sd", "t interval", "bootstrap interval", "values"], rows),
        *_failed(report, PHASE_4),
    ]
    if figures.comparisons:
        blocks += [
            Text("The difference, paired by seed. " + _rule(report)),
            Table(
                ["difference", "verdict", "mean", _confidence(report), "seeds", "effect", "t p", "exact p"],
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
    head = ["look after", "pairs", f"{report.inputs.winner} ahead by", _confidence(report), "p", "verdict"]
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
    items = []
    if found.detectable is not None:
        items.append(
            f"At the spread that was seen, these looks find a true difference of {found.detectable:.4g} with 80 % "
            "power. The spread of so few pairs is itself uncertain."
        )
    if found.exaggeration is not None:
        items.append(
            "A point is called better where the mean difference happens to be large, so that mean is too large on "
            f"average. A true difference that is found with 80 % power is overstated by {100 * found.exaggeration:.0f} "
            "% on average, a smaller one by more."
        )
    return items


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
