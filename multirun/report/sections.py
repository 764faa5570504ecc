"""A report's sections: the research's own, in plain sentences that are filled from figures and from nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mdaf.multirun.analysis.content import (
    CONFIRMATION,
    PHASE_4,
    SEARCH,
    Comparison,
    ConfigurationFigures,
    DeltaTable,
    Report,
)
from mdaf.multirun.analysis.criteria import MEANING, Assessment
from mdaf.multirun.analysis.validity import LIMITS
from mdaf.multirun.analysis.verdict_rule import MIN_SEEDS, RULE
from mdaf.multirun.analysis.wording import (
    auc4,
    confidence,
    duration,
    interval,
    listed,
    number,
    p_value,
    several,
    short,
    signed,
    standard_error,
    within,
)
from mdaf.multirun.report.blocks import Block, Chart, Fold, Items, Section, Table, Text
from mdaf.multirun.report.decision_section import decision_section
from mdaf.multirun.report.summary_section import detectable, findings, spread_in_words
from mdaf.multirun.report.verdict_section import verdict_section
from mdaf.sweeper.job.criteria import decision_text
from mdaf.sweeper.runs.metric_columns import IN_A_REPORT, MONITOR, ranking_in

WITH_INTERVALS = ("val_auc", "test_auc", "test_loss", "test_ece")
PHASES = {"weak": "Phase 1", "strong": "Phase 3", "balanced": "Phase 3 Revised"}
NOT_THE_PHASES = (
    "weak, strong and balanced stand for the regularization of Phase 1, Phase 3 and Phase 3 Revised, and for nothing "
    "else of them. The research's Phase 1 had a learning rate of 0.001 and 5 epochs, its Phase 3 a learning rate of "
    "0.0003 and 15 epochs. Here all configurations have the same learning rate and epochs."
)


def sections(report: Report, folder: Path | None = None) -> list[Section]:
    """All sections in their order, the answer first; those that this report has nothing for are left out.

    ``folder``  the report's, to which its runs' folders are relative; None: this one.
    """
    found = [verdict_section(report, folder), findings(report), results(report)]
    if report.figures.decision is not None:
        found.append(decision_section(report))
    if report.figures.confirmation is not None:
        found.append(confirmation(report))
    found += [configuration(report), comparison(report)]
    if report.figures.criteria:
        found.append(criteria(report))
    return [*found, infrastructure(report), validity(report), artifacts(report)]


def named(point: str) -> str:
    """A configuration with the phase of the research whose regularization it has."""
    return f"{point} (regularization of {PHASES[point]})" if point in PHASES else point


def configuration(report: Report) -> Section:
    """What was compared, and in which keys the configurations differ."""
    inputs = report.inputs
    names = [point.name for point in inputs.points]
    blocks: list[Block] = []
    if inputs.changes:
        rows = [[row.key, *(number(row.values[name]) for name in names)] for row in inputs.changes]
        blocks += [
            Text("All that differs between the configurations. Model, data, learning rate and epochs are the same."),
            Table(["key", *map(named, names)], rows),
        ]
    else:
        blocks.append(Text("There is one configuration, so nothing differs but the seed."))
    if any(name in PHASES for name in names):
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
    tied = found.tied
    if len(tied) == 1:
        how = f"Its mean is the highest, and no other lies within the noise of {found.noise:.5f}."
    else:
        how = (
            f"{listed(tied)} lie within the noise of {found.noise:.5f}, one standard error of a difference of two "
            "means, so the one nearest to the balanced point is taken."
        )
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
        blocks.append(Text(_failed(report.inputs.failed_confirmation)))
    blocks.append(Chart("landscape", "Each trial of the sweep by its value; the known points have a name."))
    return Section("Confirmation", blocks)


def _failed(failed: Mapping[str, Sequence[int]]) -> str:
    which = "; ".join(f"{point}: seed {listed(seeds)}" for point, seeds in failed.items())
    return f"Some runs failed and are missing from all figures: {which}."


def results(report: Report) -> Section:
    """Every configuration over its seeds, and the paired comparisons."""
    figures, inputs = report.figures, report.inputs
    split = "test" if any("test_auc" in block.figures for block in figures.configurations.values()) else "validation"
    blocks: list[Block] = [
        Chart("spreads", f"AUC on {split} rows: a dot a seed, the mean, and the 95 % interval of the mean."),
        *_other_monitor(figures.configurations),
        _all_means(figures.configurations),
        Text(
            "Means over the seeds, each run at its best epoch. For val_loss, val_ece, train_val_gap and those of the "
            "test split that are named so, less is better."
        ),
    ]
    if inputs.failed:
        blocks.append(Text(_failed(inputs.failed)))
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
                named(point),
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
            blocks.append(Table([name, "seeds", "mean", "sd", "t interval", "bootstrap interval"], rows, name))
    return Fold("Each configuration with its intervals", [*blocks, *_best_epochs(figures.configurations)])


def _other_monitor(configurations: Mapping[str, ConfigurationFigures]) -> list[Block]:
    """Which metric decides the best epoch, where it is not the validation AUC."""
    others = {point: block.monitor for point, block in configurations.items() if block.monitor is not None}
    if not others:
        return []
    which = listed(sorted(set(others.values())))
    of = "" if len(others) == len(configurations) else f" of {listed([named(point) for point in others])}"
    return [Text(f"The best epoch{of} is that of the best {which} (training.monitor), not of the highest val_auc.")]


def _best_epochs(configurations: Mapping[str, ConfigurationFigures]) -> list[Block]:
    """What it adds to the metric that decides the best epoch that each run has its own."""
    known = {point: block for point, block in configurations.items() if block.epoch_optimism is not None}
    if not known:
        return []
    rows = [
        [named(point), ", ".join(map(str, block.best_epochs)), signed(block.epoch_optimism)]
        for point, block in known.items()
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
    rows, names = [], (*IN_A_REPORT, *ranking_in([block.figures for block in configurations.values()]))
    for point, block in configurations.items():
        means = (block.figures.get(name) for name in names)
        rows.append([named(point), *(auc4(found.mean if found else None) for found in means)])
    return Table(["mean of", *names], rows)


def _pairs(report: Report) -> list[Block]:
    figures, inputs = report.figures, report.inputs
    head = [
        "difference",
        "verdict",
        "mean",
        "interval",
        "seeds",
        "effect",
        "error of seeds",
        "error of users",
        "p",
        "adjusted p",
        "t p",
        "exact p",
    ]
    rows = [
        [
            f"{row.a} - {row.b}",
            row.verdict,
            signed(row.mean),
            interval(row.interval, "+.5f"),
            str(row.n),
            number(row.effect),
            standard_error(None if row.sd is None else row.sd / math.sqrt(row.n)),
            standard_error(row.users_error),
            p_value(row.p),
            p_value(row.holm_p),
            p_value(row.t_p),
            p_value(row.permutation_p),
        ]
        for row in figures.comparisons
    ]
    floors = sorted({(row.n, row.permutation_floor) for row in figures.comparisons})
    said = "; ".join(f"at {several(n, 'pair')} it cannot fall below {floor:.4g}" for n, floor in floors)
    rule = (
        RULE.format(alpha=inputs.alpha, seeds=MIN_SEEDS)
        if figures.decision is None
        else "The rule stands in the section Decision."
    )
    asked, looks = figures.decision, inputs.looks
    level = "95 %" if asked is None or looks is None else f"the {confidence(asked.alpha, len(looks.planned))}"
    beside: list[Block] = []
    if asked is not None and len(figures.comparisons) > 1:
        beside.append(Chart("secondary", f"The secondary differences, with {level}."))
    raw: list[Block] = [
        Text(
            f"Interval ({level}) and p have both errors, that of seeds and that of users. The t p is of the seeds "
            "alone. "
            f"The exact p is that of all sign flips of the differences; {said}. These two are reported and decide "
            "nothing."
        ),
        Table(["difference", *head[5:]], [[row[0], *row[5:]] for row in rows], "What each difference rests on"),
        *_on_other_rows(figures.comparisons),
        *_rows_of_pairs(figures.comparisons, inputs.rows),
    ]
    return [
        Text(f"Differences in AUC on {inputs.rows} rows, paired by seed. {rule}"),
        Table([*head[:5], "p", "adjusted p"], [[*row[:5], row[8], row[9]] for row in rows], "Differences"),
        *([Items([detectable(row) for row in figures.comparisons])] if asked is None else []),
        *beside,
        Fold("Errors and tests behind the differences", raw),
    ]


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
        "How far a seed that suits one configuration suits the other is its correlation over the seeds. Where it is "
        "high, pairing by seed makes differences sharper; where it is negative, it costs. "
    )
    other = f"The rows beside it are {split} rows, on which nothing is decided." if split else ""
    head = ["difference", "correlation of seeds", f"mean on {split or 'other'} rows", "t interval", "t p"]
    return [Text(text + other), Table(head, rows)]


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


def comparison(report: Report) -> Section:
    """The research's delta tables, against weak and strong, and the ranking."""
    figures = report.figures
    blocks: list[Block] = []
    if figures.deltas:
        blocks.append(Text("Deltas in per cent are of the first value with its sign, as in the research's tables."))
    for against in ("weak", "strong"):
        for table in figures.deltas:
            if against not in (table.baseline, table.other) or table.baseline != against:
                continue
            blocks.append(_delta_table(table))
    if not any(table.baseline in ("weak", "strong") for table in figures.deltas):
        blocks += [_delta_table(table) for table in figures.deltas]
    rows = [
        [str(row.rank), named(row.name), auc4(row.val_auc), f"{row.percent_of_best:.1f} %"] for row in figures.ranking
    ]
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
    head = ["metric", named(table.baseline), named(table.other), "delta", "in per cent"]
    return Table(head, rows, caption=f"{table.other} against {named(table.baseline)}")


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
            Table(["criterion", "", "figures"], rows, caption=named(point)),
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
