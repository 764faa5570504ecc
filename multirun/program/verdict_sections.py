"""The first sections of a report on another program's study: the verdict, and what was found beside it."""

from __future__ import annotations

from mdaf.multirun.analysis.sentences import (
    caveat_of_failures,
    caveat_of_force,
    caveat_of_other_plans,
    other_questions,
)
from mdaf.multirun.analysis.verdict_rule import MIN_SEEDS
from mdaf.multirun.analysis.wording import interval, listed, p_value, several
from mdaf.multirun.program.content import PHASE_4, Comparison, Decision, Report
from mdaf.multirun.program.wording import better, confidence_of, difference, failed_runs, value
from mdaf.multirun.report.rendering.blocks import DOTS, Chart, Items, Section, Verdict
from mdaf.sweeper.hydra_ext.overrides import override_text, words

SEEDS_ALONE = (
    "The error is that of the seeds alone, since only the program knows its rows. If it evaluates all runs on the same "
    "rows, these have also chosen the winner, and what they happen to favour counts as better."
)


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
                chart=Chart("pairs", f"{DOTS}, the bar its {confidence_of(report)}.{margin}"),
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
        figures += f", {confidence_of(report)} {interval(row.interval, '+.4g')}"
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


def _caveats(report: Report) -> list[str]:
    """What qualifies every figure: what was forced, runs that failed, looks beside the plan."""
    inputs, found = report.inputs, []
    if inputs.forced:
        found.append(caveat_of_force(inputs.forced))
    if failed := failed_runs(report, PHASE_4):
        found.append(caveat_of_failures(failed, "both points have a value"))
    if inputs.looks is not None and inputs.looks.other_plans:
        found.append(caveat_of_other_plans(inputs.looks.other_plans, inputs.alpha))
    return found


def findings(report: Report) -> Section:
    """What was found beside the verdict."""
    inputs, figures = report.inputs, report.figures
    sentences = []
    if figures.decision is not None:
        sentences.append(_looked(report, figures.decision))
    fresh = "seeds that the search did not use" if inputs.search_seeds is not None else "seeds of its own"
    sentences.append(
        f"The points are judged by {inputs.objective}; a {better(report)} value is better. "
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


def _looked(report: Report, found: Decision) -> str:
    looks = report.inputs.looks
    assert looks is not None
    why = {
        "verdict": "the question was answered there",
        "futility": f"no more seeds were run, since {report.inputs.winner} was not ahead",
        "last look": "that was the last look",
    }.get(str(found.stop), "the question is open")
    others = looks.other_questions
    other = f" {other_questions(others, 'for this study', report.inputs.alpha)}" if others else ""
    times = "once" if len(found.looks) == 1 else several(len(found.looks), "time")
    return (
        f"Looks were planned after {listed(looks.planned)} pairs of seeds. The study was looked at {times}: {why}. "
        f"Each look is tested at {found.level:.4g}, so that all of them "
        f"together have an error of {report.inputs.alpha:g}.{other}"
    )
