"""``python -m multirun verify report.json``: every figure again from the runs; those that differ are named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mdaf.errors import NotAllowedError, UserError
from mdaf.multirun.analysis.figures import compute
from mdaf.multirun.analysis.report_data.content import FORMAT, Report
from mdaf.multirun.analysis.report_data.inputs import Inputs
from mdaf.multirun.analysis.report_data.json_form import from_json
from mdaf.multirun.analysis.report_data.sources import Source
from mdaf.multirun.analysis.rows.roc import roc_auc
from mdaf.multirun.analysis.rows.scores import Scorer, read_scores
from mdaf.multirun.report.differences import Difference, as_read, differences, explained
from mdaf.multirun.report.inputs import trivial_rule_of
from mdaf.sweeper.runs.reader import checkpoint_digest, read_finished_run, read_json
from mdaf.sweeper.runs.test_reads import log_read

OF_0_1 = 1  # the format of that version's reports
OTHER_RULES_IN_0_1 = (
    "criteria",
    "evidence",
    "bootstrap_interval",
    "seeds_needed",
    "delta_percent",
    "users_interval",
    "holm_p",
    "verdict",
)
DEEP = 1e-5  # an AUC from a checkpoint, on this device, against the one that was written while training


def read_report(file: Path) -> dict[str, Any]:
    """What stands in a report.json; UserError if there is none or it is not one."""
    report = read_json(file, "write the report again")
    if not {"format", "inputs", "figures"} <= set(report):
        raise UserError(f"{file}: holds no figures, expected a report.json that python -m multirun wrote")
    if report["format"] not in (OF_0_1, FORMAT):
        raise UserError(f"{file}: is of format {report['format']}, expected {FORMAT}; write the report again")
    return report


def is_of_0_1(report: Mapping[str, Any]) -> bool:
    """Whether version 0.1 wrote the report: figures that had other rules then are not compared."""
    return bool(report["format"] == OF_0_1)


def verify(file: Path, deep: bool = False) -> list[Difference]:
    """The differences between a report and the runs that it names, those of single runs first; none if it holds.

    ``deep`` scores validation and test rows again with the checkpoints. Reading the test split is logged.
    """
    report = read_report(file)
    with explained(file):
        return _verified(report, file.parent, deep)


def load_report(file: Path) -> Report:
    """The report in a report.json; UserError if there is none or it is damaged."""
    content = read_report(file)
    with explained(file):
        return Report.from_json(content)


def _verified(report: Mapping[str, Any], base: Path, deep: bool) -> list[Difference]:
    inputs = from_json(Inputs, report["inputs"])
    found = [difference for source in inputs.runs for difference in _identity(source, base)]
    computed = as_read(compute(inputs, base).to_json())
    order = ["runs", *(name for name in {**report["figures"], **computed} if name != "runs")]
    for name in order:
        of_it = differences(report["figures"].get(name), computed.get(name), name)
        found += [one for one in of_it if not (is_of_0_1(report) and _by_other_rules(one))]
    if deep:
        found += list(_deep(report["figures"]["runs"], inputs.runs, base))
    return found


def _by_other_rules(difference: Difference) -> bool:
    """Whether a figure of 0.1 followed another rule, or did not exist."""
    return difference.reported is None or bool({*re.split(r"[.\[\]]+", difference.figure)} & {*OTHER_RULES_IN_0_1})


def _identity(source: Source, base: Path) -> Iterator[Difference]:
    """What a run's own result.json says of it, and whether its best row is that of metrics.csv."""
    folder = base / source.folder
    run = read_finished_run(folder)
    for name in ("seed", "config_hash", "data_hash", "commit", "device"):
        if run.result.get(name) != getattr(source, name):
            yield Difference(f"inputs.runs.{source.id}.{name}", getattr(source, name), run.result.get(name))
    if (rule := trivial_rule_of(run.result)) != source.trivial_rule:
        said = source.trivial_rule
        yield Difference(f"inputs.runs.{source.id}.trivial_rule", said and said.val_auc, rule and rule.val_auc)
    if source.checkpoint and (digest := checkpoint_digest(folder)) != source.checkpoint:
        yield Difference(f"inputs.runs.{source.id}: SHA-256 of best.pt", source.checkpoint, digest)
    best = run.best
    written = {name: value for name, value in run.result["best"].items() if name in best}
    yield from differences(written, {name: best[name] for name in written}, f"{source.folder}/result.json: best")


def _deep(runs: Mapping[str, Any], sources: list[Source], base: Path) -> Iterator[Difference]:
    """AUCs from the checkpoints: of validation for every run, of test where the report has it."""
    scorer = Scorer()
    tested = [base / source.folder for source in sources if runs[source.id]["test_auc"] is not None]
    if tested:
        log_read(tested, base, purpose="verify")
    for source in sources:
        folder, figures = base / source.folder, runs[source.id]
        for split, reported, name in (
            ("validation", figures["best"]["val_auc"], "best.val_auc"),
            ("test", figures["test_auc"], "test_auc"),
        ):
            if reported is None:
                continue
            try:
                scores = scorer.score(folder, split)
            except NotAllowedError:
                raise  # the same of every run
            except UserError as error:
                yield Difference(f"runs.{source.id}.{name} (from best.pt)", reported, f"nothing: {error}")
                continue
            found = roc_auc(scores.logits, scores.labels)
            if abs(found - reported) > DEEP:
                yield Difference(f"runs.{source.id}.{name} (from best.pt)", reported, found)
            kept = read_scores(folder, split)
            if kept is not None and abs(roc_auc(kept.logits, kept.labels) - found) > DEEP:
                yield Difference(f"{source.folder}/scores_{split}.npz: AUC", roc_auc(kept.logits, kept.labels), found)
