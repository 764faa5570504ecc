"""What Phase 4 decided, in words: on which rows, with what error, after how many runs, and what to deploy."""

from __future__ import annotations

from mdaf.data.inspecting.trivial_rules import not_learning_yet
from mdaf.multirun.analysis.judging.versions import of_other_code
from mdaf.multirun.analysis.looks.decision import Stop
from mdaf.multirun.analysis.report_data.content import ClaimFigures, DecisionFigures, Report
from mdaf.multirun.analysis.report_data.inputs import CONFIRMATION, PHASE_4, SEARCH, Claim, Inputs, Looks
from mdaf.multirun.analysis.sentences import (
    caveat_of_failures,
    caveat_of_force,
    caveat_of_other_plans,
    found_with_power,
    other_questions,
    overstated,
)
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
)
from mdaf.multirun.phase4.known import SEARCHED
from mdaf.multirun.report.rendering.blocks import Block, Items, Section, Table, Text

WHY: dict[Stop | None, str] = {
    "verdict": "the question is answered",
    "futility": "the mean difference is not positive, so more seeds would hardly make it better",
    "last look": "it was the last look that was planned",
    None: "",
}


def caveats(report: Report) -> list[str]:
    """What qualifies every figure: other code or epochs, what was forced, runs that failed, looks beside the plan."""
    inputs = report.inputs
    trained = [run.commit for run in inputs.runs if run.stage != SEARCH]
    others = of_other_code(trained, report.commit)
    found = [f"The runs that are compared: {others}."] if others else []
    if inputs.forced:
        found.append(caveat_of_force(inputs.forced))
    if inputs.search_epochs is not None:
        found.append(
            f"The runs that are compared have {several(inputs.epochs, 'epoch')}, the study's trials had "
            f"{inputs.search_epochs}: the winner was chosen at another number of epochs than it is judged at."
        )
    if inputs.failed:
        found.append(caveat_of_failures(inputs.failed, "both configurations finished"))
    if inputs.looks is not None and inputs.looks.other_plans:
        found.append(caveat_of_other_plans(inputs.looks.other_plans, inputs.alpha))
    return [*found, *_below_trivial_rules(report)]


def _below_trivial_rules(report: Report) -> list[str]:
    """Each configuration whose mean validation AUC a trivial rule passes."""
    rules = {run.point: run.trivial_rule for run in report.inputs.runs if run.stage == PHASE_4 and run.trivial_rule}
    found = []
    for name, block in report.figures.configurations.items():
        rule, reached = rules.get(name), block.figures.get("val_auc")
        if rule is not None and reached is not None:
            said = not_learning_yet(reached.mean, rule.rule, rule.val_auc)
            found += [f"{name}: validation AUC {said}."] if said else []
    return found


def lead(found: DecisionFigures) -> str:
    """The verdict in a sentence without a figure."""
    last = found.looks[-1]
    if last.mean is None or last.interval is None:
        return f"Nothing is decided: {several(last.n, 'pair')} of seeds finished."
    so_far = " so far" if found.stop is None else ""
    return {
        "better": f"{found.a} is better than {found.b}.",
        "worse": f"{found.a} is worse than {found.b}.",
        "equivalent": f"{found.a} and {found.b} are equivalent.",
        "indistinguishable": f"{found.a} and {found.b} are indistinguishable{so_far}.",
    }[found.verdict]


def figures_behind(found: DecisionFigures, looks: Looks) -> str:
    """The figures behind the verdict, in a sentence."""
    last = found.looks[-1]
    if last.mean is None or last.interval is None:
        return f"Decided on {found.rows} rows: nothing, since {several(last.n, 'pair')} of seeds finished."
    return (
        f"Decided on {found.rows} rows: the mean difference in AUC is {signed(last.mean)} over "
        f"{several(last.n, 'pair')} of seeds, {confidence(found.alpha, len(looks.planned))} "
        f"{interval(last.interval, '+.5f')}, p {p_value(last.p)} against a level of {found.level:.4f} for each look."
    )


def about_the_looks(report: Report) -> list[str]:
    """The error of the looks, what the search chose besides, and other questions that were looked at."""
    inputs, found = report.inputs, report.figures.decision
    if found is None or inputs.looks is None:
        return []
    sentences = [_error(found, inputs.looks), *_borrowed(report)]
    if inputs.looks.other_questions:
        where = f"for this study or against the same {found.b}"
        sentences.append(other_questions(inputs.looks.other_questions, where, found.alpha))
    return sentences


def _error(found: DecisionFigures, looks: Looks) -> str:
    error = f" ± {100 * found.standard_error:.2f} points, one standard error"
    simulated = f", simulated{error}" if found.standard_error else ""
    together = "all of them together have" if len(looks.planned) > 1 else "it has"
    why = WHY[found.stop]
    return (
        f"{several(len(looks.planned), 'look')} planned, after {listed(looks.planned)} pairs of seeds; {together} a "
        f"two-sided error of {100 * found.alpha:g} %{simulated}. {several(len(found.looks), 'look')} made"
        f"{': ' + why if why else ''}."
    )


def deploy(found: DecisionFigures) -> str:
    """What to do, by the verdict."""
    if found.deploy == found.a:
        return f"Deploy {found.a}."
    return f"Deploy {found.b}: it stays unless the verdict says that {found.a} is better."


def _borrowed(report: Report) -> list[str]:
    """What the search chose beside the regularization: both configurations have it, so nothing is said of it."""
    inputs, asked = report.inputs, report.figures.decision
    trial = next((trial for trial in inputs.trials if trial.trial == inputs.winner_trial), None)
    changed = {change.key for change in inputs.changes}
    others = [] if trial is None else [key for key in trial.params if key not in changed and key not in SEARCHED]
    if not others or asked is None:
        return []
    values = listed([f"{key} {number(trial.params[key])}" for key in others] if trial is not None else [])
    return [
        f"The search chose {values} as well. Both configurations have that, so {asked.b} is not what there was before "
        "the search, and nothing is decided on it."
    ]


def spent(report: Report) -> list[str]:
    """How many runs it took."""
    runs = report.figures.spent
    if not runs or report.inputs.study is None:
        return []
    return [
        f"It took {sum(runs.values())} runs: {runs[SEARCH]} of the search, {runs[CONFIRMATION]} of confirmation, "
        f"{runs[PHASE_4]} of Phase 4."
    ]


def optimism(found: ClaimFigures, said: Claim | None) -> str:
    """What was said of the named winner, and what fresh seeds kept of it."""
    own = "" if said is None or said.standard_error is None else f" ± {said.standard_error:.5f}"
    own += " (posterior standard deviation)" if own else ""
    error = "" if found.standard_error is None else f" ± {found.standard_error:.5f} (one standard error)"
    return (
        f"{found.point} was named by {found.by}, {auc4(found.claimed)}{own}. {several(found.n, 'fresh seed')} gave "
        f"{auc4(found.fresh)} on the same validation rows: an optimism of {signed(found.optimism)}{error}. "
        "The luck of the search's seeds is a part of it."
    )


def decision_section(report: Report) -> Section:
    """The looks one by one, the rule, and what such looks can find."""
    found = report.figures.decision
    assert found is not None
    rows = [
        [
            str(look.planned),
            str(look.n),
            signed(look.mean),
            interval(look.interval, "+.5f"),
            p_value(look.p),
            standard_error(look.users_error),
            look.verdict if look.stop is not None else f"{look.verdict} so far",
            WHY[look.stop] or "more seeds",
        ]
        for look in found.looks
    ]
    said = confidence(found.alpha, len(report.inputs.looks.planned) if report.inputs.looks else 1)
    head = ["pairs planned", "pairs", "mean difference", said, "p", "error of users", "verdict", "then"]
    blocks: list[Block] = [Text(_rule(report.inputs, found)), Table.of_what_is_known(head, rows)]
    if any(look.users_error is None for look in found.looks):
        blocks.append(Text(_seeds_alone(report, found)))
    return Section("Decision", [*blocks, Items(_can_find(found))])


def _rule(inputs: Inputs, found: DecisionFigures) -> str:
    looks = inputs.looks
    assert looks is not None
    futility = (
        ""
        if looks.futility is None or looks.futility >= looks.planned[-1]
        else f" From {looks.futility} pairs on, a mean that is not positive ends it as well; the level does not count "
        "on that, so going on all the same is no error."
    )
    margin = (
        ""
        if inputs.margin is None
        else f" They are 'equivalent' if the interval lies within ±{inputs.margin:g}, the smallest difference that "
        "anyone would act on."
    )
    return (
        f"One question: is {found.a} better than {found.b}? It is decided on {found.rows} rows, by the mean "
        f"difference over seeds that nothing was chosen on, at a level of {found.level:.4f} at each look. The interval "
        f"is at one minus that level, so that all looks hold it with {100 * (1 - found.alpha):g} %. Interval and "
        "p have two errors that add up: that of the seeds (paired t) and that of the rows, which is the standard error "
        f"over resampled users.{margin}{futility} Other comparisons are secondary: they are "
        "tested at the same level, under Holm, and only if this question was answered with better or worse."
    )


def _seeds_alone(report: Report, found: DecisionFigures) -> str:
    """Why a look has no error of users."""
    if found.looks[-1].users_error is None:
        return f"The scores of {report.inputs.rows} rows were not kept: interval and p have the error of seeds alone."
    return (
        "The error of users was not computed for looks that the seeds alone left open: it only makes p larger and the "
        "interval wider."
    )


def _can_find(found: DecisionFigures) -> list[str]:
    items = [
        f"Where nothing differs, such looks call {found.a} better in {100 * found.false_better:.1f} % of cases, if the "
        "differences are roughly normal."
    ]
    if found.detectable is not None:
        items.append(found_with_power(f"{found.detectable:.5f}", ", without the error of the rows"))
    if found.exaggeration is not None:
        items.append(overstated(found.a, found.exaggeration))
    return items


def beside_the_verdict(report: Report) -> str:
    """What else is known where the verdict says neither better nor worse."""
    found = report.figures.decision
    if found is None:
        return ""
    if found.verdict == "equivalent":
        return (
            f" The interval lies within ±{number(report.inputs.margin)}: where {found.a} has another merit, such as a "
            "lower cost, nothing speaks against it."
        )
    if found.verdict == "indistinguishable":
        return " Indistinguishable does not mean equal: a smaller difference than these looks can find may be there."
    return ""
