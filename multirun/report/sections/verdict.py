"""The first section of a report: the answer, its picture, what to deploy, and the line that does it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from mdaf.multirun.analysis.report_data.content import Report
from mdaf.multirun.analysis.report_data.inputs import PHASE_4
from mdaf.multirun.analysis.wording import listed, several
from mdaf.multirun.report.rendering.blocks import DOTS, Chart, Section, Verdict
from mdaf.multirun.report.sections.decision import beside_the_verdict, caveats, deploy, figures_behind, lead
from mdaf.sweeper.runs.metric_columns import MONITOR, best_epoch, column
from mdaf.terminal.programs import here

NOTHING = "Nothing was decided: there is one configuration, so nothing is compared."


def verdict_section(report: Report, folder: Path | None = None) -> Section:
    """The answer. ``folder`` is that of the report, to which the runs' folders are relative; None: this one."""
    inputs, figures = report.inputs, report.figures
    chosen = deployed(report)
    command, note = None, None
    if chosen is not None:
        run, note = _best_run(report, chosen)
        path = os.path.normpath((folder or Path()) / run)
        command = here(shlex.join(["mdaf", "export", os.path.relpath(path), "--out", f"{_word(chosen)}-model"]))
    asked = figures.decision
    if asked is not None:
        assert inputs.looks is not None
        said, why = lead(asked), figures_behind(asked, inputs.looks)
        what = deploy(asked) + beside_the_verdict(report)
    elif figures.comparisons:
        said, what = _without_a_question(report)
        why = (
            f"{several(len(figures.comparisons), 'comparison')} of configurations, decided on {inputs.rows} rows. Over "
            f"all of them together a false verdict has a probability of {inputs.alpha:g} at most (Holm)."
        )
    else:
        said, why, what = NOTHING, "", "There is nothing to choose."
    return Section(
        "Verdict",
        [
            Verdict(
                lead=said,
                caveats=caveats(report),
                why=why,
                chart=_picture(report),
                deploy=what,
                command=command,
                note=note,
            )
        ],
    )


def _picture(report: Report) -> Chart | None:
    inputs, asked = report.inputs, report.figures.decision
    if not report.figures.comparisons:
        return None
    margin = "" if inputs.margin is None else f" The grey band is the margin of ±{inputs.margin:g}."
    level = "over all looks" if asked is not None and inputs.looks and len(inputs.looks.planned) > 1 else "95 %"
    return Chart("pairs", f"{DOTS}, the bar its interval ({level}).{margin}")


def deployed(report: Report) -> str | None:
    """The configuration to deploy; None where the report does not say which."""
    inputs, figures = report.inputs, report.figures
    if figures.decision is not None:
        return figures.decision.deploy
    others = verdicts_on(report, inputs.winner) if inputs.winner is not None else {}
    if inputs.winner is not None:
        return inputs.winner if others and set(others.values()) == {"better"} else None
    best = [name for name in figures.configurations if set(verdicts_on(report, name).values()) == {"better"}]
    return best[0] if best else None


def verdicts_on(report: Report, point: str) -> dict[str, str]:
    """What the comparisons say of a configuration: the other one -> the verdict."""
    return {
        row.b if row.a == point else row.a: row.verdict if row.a == point else _turned(row.verdict)
        for row in report.figures.comparisons
        if point in (row.a, row.b)
    }


def _turned(verdict: str) -> str:
    return {"better": "worse", "worse": "better"}.get(verdict, verdict)


def _without_a_question(report: Report) -> tuple[str, str]:
    """The answer and what to do, where each pair was compared once."""
    winner = report.inputs.winner
    if winner is not None:
        return _of_a_winner(winner, verdicts_on(report, winner))
    names = list(report.figures.configurations)
    found = {name: verdicts_on(report, name) for name in names}
    behind = [name for name in names if "worse" in found[name].values()]
    ahead = [name for name in names if name not in behind]
    if not behind:
        return f"No difference is shown between {listed(names)}.", "Keep what you have, or take the cheapest of them."
    if len(ahead) == 1 and set(found[ahead[0]].values()) == {"better"}:
        return f"{ahead[0]} is better than {listed(behind)}.", f"Deploy {ahead[0]}."
    beaten = f"{listed(behind)} {'is' if len(behind) == 1 else 'are'} behind another configuration"
    if len(ahead) == 1:
        return f"{beaten}, {ahead[0]} behind none.", f"Deploy {ahead[0]} or what you have."
    return (
        f"{beaten}; no difference is shown between {listed(ahead)}.",
        f"Deploy the cheapest of {listed(ahead)}.",
    )


def _of_a_winner(winner: str, others: Mapping[str, str]) -> tuple[str, str]:
    better = [name for name, verdict in others.items() if verdict == "better"]
    worse = [name for name, verdict in others.items() if verdict == "worse"]
    equal = [name for name, verdict in others.items() if verdict in ("indistinguishable", "equivalent")]
    if worse:
        return (
            f"{winner} is worse than {listed(worse)}.",
            f"Do not take {winner}: over the seeds {listed(worse)} came out ahead of it.",
        )
    if not equal:
        return f"{winner} is better than {listed(better)}.", f"Take {winner}: it is better than {listed(better)}."
    ahead = f" It is better than {listed(better)}." if better else ""
    return (
        f"{winner} is not shown to be better than {listed(equal)}, nor to be no better.{ahead}",
        "Between such points, keep the one that was planned before the search (balanced), or the cheapest.",
    )


def _best_run(report: Report, point: str) -> tuple[str, str]:
    """The folder of the run of a configuration to deploy, and what it is in words."""
    block = report.figures.configurations[point]
    monitor = block.monitor or MONITOR
    runs = [
        {**report.figures.runs[source.id].best, "source": source}
        for source in report.inputs.runs
        if (source.stage, source.point) == (PHASE_4, point)
    ]
    source = best_epoch(runs, monitor)["source"]
    said = "validation AUC" if monitor == MONITOR else column(monitor).heading
    of = f", the run with the best {said} of its {len(runs)}" if len(runs) > 1 else ""
    return source.folder, f"This exports the model of {point} on seed {source.seed}{of}."


def _word(point: str) -> str:
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in point)
    return kept.strip("-.") or "chosen"
