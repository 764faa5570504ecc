"""Runs beside each other, and a study beside its runs: the commands ``compare`` and ``verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from optuna.study import Study

from mdaf.sweeper.study import queries
from mdaf.sweeper.study.commands.options import DEFAULT_STORAGE, RecordFormat, StorageUrl, StudyName, TextOrJson, choose
from mdaf.sweeper.study.commands.output import json_text, note, print_table, say
from mdaf.sweeper.study.comparison import ComparedRun, compare, run_from_folder, run_from_trial
from mdaf.sweeper.study.consistency import check_study, objectives_of
from mdaf.terminal.printable import in_a_line
from mdaf.terminal.progress import working

LONGEST_HEADING = 16  # characters; of two runs with longer names the table says A and B


def compare_runs(
    a: Annotated[str, typer.Argument(metavar="A", help="The baseline: a trial's number or a run's folder.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other: likewise.")],
    epoch: Annotated[int | None, typer.Option("--epoch", min=1, help="Default: each run's best epoch.")] = None,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
    form: TextOrJson = RecordFormat.table,
) -> None:
    """Two runs beside each other, metric by metric.

    Per metric both values, delta = B - A, and delta in per cent of A.
    """
    chosen = choose(storage, study) if a.isdecimal() or b.isdecimal() else None
    first, second = _run(a, chosen), _run(b, chosen)
    deltas = compare(first, second, epoch)
    if form is RecordFormat.json:
        say(json_text({"a": first.name, "b": second.name, "rows": deltas}))
        return
    names = {"a": first.name, "b": second.name}
    if any(len(name) > LONGEST_HEADING for name in names.values()):
        say(f"A  {first.name}\nB  {second.name}\n")
        names = {"a": "A", "b": "B"}
    short = queries.short_names([str(row["metric"]) for row in deltas])
    rows = [row | {"metric": short[str(row["metric"])]} for row in deltas]
    headings = {"metric": "metric", **names, "delta": "delta", "delta_percent": "delta %"}
    print_table(rows, headings, important=("metric", "delta"))


def _run(text: str, study: Study | None) -> ComparedRun:
    """A run by trial number, or by folder; a folder whose name is a number is written ./7."""
    if text.isdecimal() and study is not None:
        return run_from_trial(queries.find_trial(study, int(text)), objectives_of(study)[0])
    return run_from_folder(Path(text))


def verify(storage: StorageUrl = DEFAULT_STORAGE, study: StudyName = None) -> None:
    """Whether the study says what its runs left.

    Reads each finished trial's run folder again and names what differs: values, epochs, attributes, parameters. The
    exit code is 1 if anything does.
    """
    chosen = choose(storage, study)
    with working("reading the run folders"):
        found, absent = check_study(chosen)
    for difference in found:
        say(in_a_line(difference))
    if absent:
        note(f"{len(absent)} trials have no run folder here to be compared with, such as trial {absent[0]}")
    if found:
        note(f"{len(found)} differ in study {chosen.study_name}")
        raise typer.Exit(1)
    say(f"study {chosen.study_name}: {queries.counts(chosen)['COMPLETE']} complete trials, nothing differs")
