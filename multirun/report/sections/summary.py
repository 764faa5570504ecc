"""What a report found beside its verdict, in a few sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mdaf.multirun.analysis.report_data.content import Comparison, ConfigurationFigures, CriteriaFigures, Report
from mdaf.multirun.analysis.wording import auc4, confidence, interval, listed, number, p_value, several, signed, within
from mdaf.multirun.report.rendering.blocks import Items, Section
from mdaf.multirun.report.sections.decision import about_the_looks, optimism, spent
from mdaf.sweeper.job.criteria import decision_text


def findings(report: Report) -> Section:
    """What was found beside the verdict: other comparisons, the search, what is known of chance, the criteria."""
    inputs, figures = report.inputs, report.figures
    sentences = [*about_the_looks(report), *spent(report)]
    sentences += [_verdict(report, row) for row in _beside(report) if inputs.winner in (None, row.a, row.b)]
    sentences += _search(report) if inputs.study else []
    sentences += [optimism(figures.claim, inputs.claim)] if figures.claim is not None else []
    if figures.noise:
        noise = " and ".join(f"{auc4(sd)} in {split} AUC" for split, sd in figures.noise.items())
        sentences.append(f"One seed has a standard deviation of {noise}, pooled over the configurations.")
    sentences += [_criteria(point, figures.criteria[point]) for point in _judged(report)]
    evidence = figures.evidence
    sentences.append(
        f"The evidence is {evidence.verdict}: {100 * evidence.share:.0f} % of the planned epochs and seeds."
    )
    return Section("Findings", [Items(sentences)])


def _beside(report: Report) -> list[Comparison]:
    """The comparisons that are not the question itself."""
    asked = report.figures.decision
    return [row for row in report.figures.comparisons if asked is None or (row.a, row.b) != (asked.a, asked.b)]


def _judged(report: Report) -> list[str]:
    winner = report.inputs.winner
    return [winner] if winner is not None and winner in report.figures.criteria else list(report.figures.criteria)


def _search(report: Report) -> list[str]:
    inputs, found = report.inputs, report.figures.confirmation
    complete = [trial for trial in inputs.trials if trial.value is not None and trial.eligible]
    best = max(complete, key=lambda trial: trial.value or -math.inf)
    sentences = [
        f"The study {inputs.study} has {several(len(inputs.trials), 'trial')}. "
        f"The best, trial {best.trial}, has a validation AUC of {auc4(best.value)} on the seed that chose it."
    ]
    values: Mapping[str, float] = next((point.values for point in inputs.points if point.name == inputs.winner), {})
    settings = ", ".join(f"{key.rpartition('.')[2]} {number(value)}" for key, value in values.items())
    if found is None:
        how = "is this point" if inputs.claim is not None else "was named by its value"
        return [*sentences, f"The winner {how}: {settings}."]
    row = next(row for row in found.candidates if row.name == found.winner)
    known = "the balanced point itself" if found.winner == "balanced" else f"{found.winner} of the study"
    error = "" if row.optimism_error is None else f" ± {row.optimism_error:.5f}"
    gap = (
        f", so the sweep's value of {auc4(row.sweep_value)} was {signed(row.optimism)}{error} optimistic"
        if row.optimism is not None
        else ""
    )
    if found.candidates[0] is not row and found.candidates[0].optimism is not None:
        first = found.candidates[0]
        error = "" if first.optimism_error is None else f" ± {first.optimism_error:.5f}"
        sentences.append(
            f"On fresh seeds {first.name} kept {auc4(first.mean)} of its {auc4(first.sweep_value)}: "
            f"the sweep was {signed(first.optimism)}{error} optimistic about it."
        )
    tied = f" {listed(found.tied)} were tied within noise." if len(found.tied) > 1 else ""
    sentences.append(
        f"Confirmed on {several(row.n, 'fresh seed')}, the winner is {known} ({settings}): "
        f"mean {auc4(row.mean)}{gap}.{tied}"
    )
    return sentences


def spread_in_words(name: str, block: ConfigurationFigures) -> str:
    """A configuration over its seeds, in a sentence."""
    found = block.figures["val_auc"]
    over = f"over {several(found.n, 'seed')} ({', '.join(map(str, block.seeds))})"
    beside = _calibration(block, "val")
    if test := block.figures.get("test_auc"):
        spread = "" if test.sd is None else f" ± {auc4(test.sd)}"
        beside += f"; on the test split AUC {auc4(test.mean)}{spread}{_calibration(block, 'test')}"
    if found.sd is None:
        return f"{name}: validation AUC {auc4(found.mean)} {over}, which says nothing of its spread{beside}."
    return (
        f"{name}: validation AUC {auc4(found.mean)} ± {auc4(found.sd)} (standard deviation) {over}, "
        f"95 % interval of the mean {interval(within(found.t_interval))}{beside}."
    )


def _calibration(block: ConfigurationFigures, split: str) -> str:
    """Log loss and expected calibration error, as far as they are known."""
    names = {"log loss": f"{split}_loss", "ECE": f"{split}_ece"}
    known = [f"{word} {auc4(block.figures[name].mean)}" for word, name in names.items() if name in block.figures]
    return f", {', '.join(known)}" if known else ""


def _verdict(report: Report, row: Comparison) -> str:
    figures = f"mean difference {signed(row.mean)} over {several(row.n, 'seed')}"
    if row.interval is not None:
        asked, looks = report.figures.decision, report.inputs.looks
        level = report.inputs.alpha if asked is None else asked.level
        said = "95 % interval" if asked is None or looks is None else confidence(asked.alpha, len(looks.planned))
        figures += f", {said} {interval(row.interval, '+.5f')}, adjusted p {p_value(row.holm_p)}"
        figures += f" against a level of {level:.4g}"
    if row.verdict in ("indistinguishable", "equivalent"):
        return f"{row.a} and {row.b} are {row.verdict}: {figures}."
    return f"{row.a} is {row.verdict} than {row.b}: {figures}."


def _criteria(point: str, found: CriteriaFigures) -> str:
    counts = [one.verdict for one in found.judgements]
    shown = ", ".join(f"{counts.count(word)} {word}" for word in ("PASS", "FAIL", "PENDING") if word in counts)
    what = decision_text(found.decision, found.reason)
    return f"{point} against the success criteria: {shown}; tier {found.tier}. By them, what follows is: {what}"


def detectable(row: Comparison) -> str:
    """What a comparison could have found."""
    pair = f"{row.a} - {row.b}"
    if row.detectable is None:
        return f"{pair}: {several(row.n, 'pair')} without spread, so nothing can be said of what could be detected."
    return f"{pair}: a true difference of {row.detectable:.5f} is found with 80 % power, at the spread that was seen."
