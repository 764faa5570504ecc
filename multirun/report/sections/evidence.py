"""The sections behind the answer: what was compared, on which runs, and by which criteria it was judged."""

from __future__ import annotations

from collections.abc import Mapping

from mdaf.multirun.analysis.judging.criteria import MEANING, Assessment
from mdaf.multirun.analysis.judging.validity import LIMITS
from mdaf.multirun.analysis.report_data.content import DeltaTable, Report
from mdaf.multirun.analysis.report_data.inputs import CONFIRMATION, PHASE_4, SEARCH
from mdaf.multirun.analysis.sentences import chosen_of_the_tied, missing_runs
from mdaf.multirun.analysis.wording import auc4, duration, listed, number, several, short, signed
from mdaf.multirun.report.rendering.blocks import Block, Chart, Items, Section, Table, Text
from mdaf.sweeper.job.criteria import decision_text

OF_THE_PHASES = {"weak", "strong", "balanced"}
NOT_THE_PHASES = (
    "weak, strong and balanced stand for the regularization of Phase 1, Phase 3 and Phase 3 Revised, and for nothing "
    "else of them. The research's Phase 1 had a learning rate of 0.001 and 5 epochs, its Phase 3 a learning rate of "
    "0.0003 and 15 epochs. Here all configurations have the same learning rate and epochs."
)


def configuration(report: Report) -> Section:
    """What was compared, and in which keys the configurations differ."""
    inputs = report.inputs
    names = [point.name for point in inputs.points]
    blocks: list[Block] = []
    if inputs.changes:
        rows = [[row.key, *(number(row.values[name]) for name in names)] for row in inputs.changes]
        blocks += [
            Text("All that differs between the configurations. Model, data, learning rate and epochs are the same."),
            Table(["key", *names], rows),
        ]
    else:
        blocks.append(Text("There is one configuration, so nothing differs but the seed."))
    if inputs.research and not OF_THE_PHASES.isdisjoint(names):
        blocks.append(Text(NOT_THE_PHASES))
    common = [o for o in inputs.points[0].overrides if not o.startswith("regularization.")]
    if common:
        blocks.append(Text(f"What all have in common, beside the defaults: {' '.join(common)}"))
    seeds = inputs.seeds
    if inputs.study:
        blocks.append(
            Text(
                f"Seeds of the search: {listed(seeds[SEARCH])}; of confirmation: {listed(seeds[CONFIRMATION])}; "
                f"of Phase 4: {listed(seeds[PHASE_4])}. No seed is in two of these."
            )
        )
    return Section("Configuration and changes", blocks, folded=True)


def confirmation(report: Report) -> Section:
    """What the sweep promised and what fresh seeds kept of it."""
    found = report.figures.confirmation
    assert found is not None
    rows = [
        [
            row.name,
            number(row.trial),
            auc4(row.sweep_value),
            auc4(row.mean),
            auc4(row.sd),
            str(row.n),
            signed(row.optimism),
            "-" if row.optimism_error is None else f"{row.optimism_error:.5f}",
            f"{row.distance:.3f}",
        ]
        for row in found.candidates
    ]
    how = chosen_of_the_tied(found.tied, f"{found.noise:.5f}", "the balanced point")
    text = (
        "The sweep's best trials were trained again on seeds that it never used. The value in the sweep is the best of "
        "many noisy values, so it is too high on average. "
        "The optimism is the difference to the mean of the fresh seeds. "
        f"The winner is {found.winner}. {how}"
    )
    head = ["candidate", "trial", "in the sweep", "confirmed mean", "sd", "seeds", "optimism", "its error"]
    head.append("distance from balanced")
    blocks: list[Block] = [Text(text), Table(head, rows)]
    if report.inputs.failed_confirmation:
        blocks.append(Text(missing_runs(report.inputs.failed_confirmation)))
    blocks.append(Chart("landscape", "Each trial of the sweep by its value; the known points have a name."))
    return Section("Confirmation", blocks)


def comparison(report: Report) -> Section:
    """The research's delta tables, against weak and strong, and the ranking."""
    figures = report.figures
    blocks: list[Block] = []
    if figures.deltas:
        blocks.append(Text("Deltas in per cent are of the first value with its sign."))
    for against in ("weak", "strong"):
        for table in figures.deltas:
            if against not in (table.baseline, table.other) or table.baseline != against:
                continue
            blocks.append(_delta_table(table))
    if not any(table.baseline in ("weak", "strong") for table in figures.deltas):
        blocks += [_delta_table(table) for table in figures.deltas]
    rows = [[str(row.rank), row.name, auc4(row.val_auc), f"{row.percent_of_best:.1f} %"] for row in figures.ranking]
    blocks += [
        Text("Ranked by mean validation AUC. A rank is no verdict: neighbours may be indistinguishable."),
        Table(["rank", "configuration", "val_auc", "share of the best"], rows),
    ]
    against_phases = any(point in figures.configurations for point in ("weak", "strong"))
    title = "Comparison against weak and strong" if against_phases else "Comparison"
    return Section(title, blocks, folded=True)


def _delta_table(table: DeltaTable) -> Table:
    rows = [
        [
            row.metric,
            auc4(row.a),
            auc4(row.b),
            signed(row.delta),
            "-" if row.delta_percent is None else f"{row.delta_percent:+.2f} %",
        ]
        for row in table.rows
    ]
    head = ["metric", table.baseline, table.other, "delta", "in per cent"]
    return Table(head, rows, caption=f"{table.other} against {table.baseline}")


def criteria(report: Report) -> Section:
    """Each configuration against its success criteria, on the mean curve over its seeds."""
    return Section("Criteria", criteria_blocks(report.figures.criteria), folded=True)


def criteria_blocks(assessments: Mapping[str, Assessment]) -> list[Block]:
    """The judgements of each configuration, its tier, and what follows."""
    blocks: list[Block] = [
        Text(
            "The criteria and the decision rule are the research's, and so is tier 1.5; tiers 1, 2 and 3 come from its "
            "other notes. The best validation AUC is the mean over runs at their own best epochs, and the best epoch "
            "is their median; the other criteria are judged on the mean curve over the seeds. The targets belong to "
            "one data set and are configuration."
        )
    ]
    for point, found in assessments.items():
        rows = [[one.criterion, one.verdict, one.figures] for one in found.judgements]
        blocks += [
            Table(["criterion", "", "figures"], rows, caption=point),
            Text(
                f"Tier {found.tier}: {MEANING[found.tier]}. Gap: {found.gap}. "
                f"What follows: {decision_text(found.decision, found.reason)}"
            ),
        ]
    return blocks


def infrastructure(report: Report) -> Section:
    """Epoch times, anomalies, device."""
    found = report.figures.infrastructure
    shown = (
        f"{several(len(found.runs), 'run')}, {several(found.epochs, 'epoch')}, {duration(found.seconds)} of "
        f"training and evaluation in all, on {listed(found.devices)}."
    )
    slow = (
        f"Out of proportion slow epochs: {listed(found.slow)}."
        if found.slow
        else "No epoch took out of proportion long beside the others of its run."
    )
    rows = [
        [
            row.run,
            row.device,
            duration(row.seconds),
            duration(row.median_epoch),
            duration(row.slowest_epoch),
            listed(row.slow_epochs) if row.slow_epochs else "none",
        ]
        for row in found.runs
        if not row.run.startswith(f"{SEARCH}/")
    ]
    commits = f"Commits: {listed([short(commit) for commit in found.commits if commit])}."
    data = f"Data: {listed([one[:12] for one in found.data])}."
    mixed = " The runs come from several commits, so code may be a difference too." if len(found.commits) > 1 else ""
    return Section(
        "Infrastructure",
        [
            Text(f"{shown} {slow} {commits} {data}{mixed}"),
            Chart(
                "times",
                "Seconds of each epoch, all runs one after another; a second epoch that stalls would stand out.",
            ),
            Table(
                ["run", "device", "total", "median epoch", "slowest epoch", "slow epochs"], rows, "Times of each run"
            ),
        ],
        folded=True,
    )


def validity(report: Report) -> Section:
    """What the data can and cannot support."""
    found = report.figures.evidence
    rows = [[one.name, "valid" if one.valid else "invalid", one.why] for one in found.analyses]
    share = (
        f"{found.epochs} of {found.epochs_planned} epochs times {found.seeds} of {found.seeds_planned} "
        f"seeds: "
        f"{100 * found.share:.0f} % of the planned evidence. The data are {found.verdict}."
    )
    reads = report.test_reads
    tested = sum(len(read["runs"]) for read in reads)
    read = (
        f"For reports on this study the test split was read for {several(tested, 'run')}, after their training, "
        f"{several(len(reads), 'time')}; the log is test_reads.jsonl. Who else read it is not known here."
        if reads
        else "The test split was not read for this report: its runs had been scored before."
        if any(run.test_auc is not None for run in report.figures.runs.values())
        else "The test split was not read for this report."
    )
    promised = [Text(f"Splits: {words}.") for words in sorted({one.splits for one in report.inputs.runs} - {""})]
    return Section(
        "Statistical validity",
        [Text(share), Table(["analysis", "", "why"], rows), *promised, Text(read), Text("Limits:"), Items(LIMITS)],
        folded=True,
    )


def artifacts(report: Report) -> Section:
    """Where everything lies."""
    rows = [
        [one.id, one.folder, one.config_hash, one.data_hash[:12], short(one.commit)]
        for one in report.inputs.runs
        if one.stage != SEARCH
    ]
    return Section(
        "Artifacts",
        [
            Text(
                "Folders are relative to this report's. Each holds metrics.csv, result.json, best.pt, last.pt, "
                "summary.txt and train.log. report.json has every figure with the runs that it comes from; "
                "mdaf-phase4 verify report.json computes all of them again."
            ),
            Table(["run", "folder", "config", "data", "commit"], rows, "Runs"),
        ],
        folded=True,
    )
