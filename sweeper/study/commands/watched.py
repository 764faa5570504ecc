"""A sweep that runs: the command ``watch``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Group
from rich.text import Text

from mdaf.sweeper.study import queries, winners
from mdaf.sweeper.study.commands.options import DEFAULT_STORAGE, SingleRuns, StorageUrl, StudyName, choose
from mdaf.sweeper.study.commands.output import laid_out, print_table, say
from mdaf.sweeper.study.filters import HEADINGS
from mdaf.sweeper.study.queries import Row
from mdaf.sweeper.study.status.block import rows_of, share_of
from mdaf.sweeper.study.status.status import Reader, Status, value_so_far
from mdaf.sweeper.trials import leases
from mdaf.sweeper.trials.points.same_point import point_id_of, seed_of
from mdaf.sweeper.trials.user_attrs import POINT
from mdaf.terminal import screen, tables
from mdaf.terminal.counting import block
from mdaf.terminal.printable import in_a_line


def watch(
    every: Annotated[float, typer.Option("--every", min=0.1, metavar="SECONDS", help="Between two looks.")] = 2.0,
    last: Annotated[int, typer.Option("--last", min=0, metavar="N", help="How many finished trials.")] = 10,
    runs: SingleRuns = False,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
) -> None:
    """The running and the latest trials, renewed until Ctrl-C.

    Above them: how many trials have ended and of how many, the best one, and the time left. Off a terminal it is
    printed once. Of a race it also says how many points and runs there are, and the best point.
    """
    chosen = choose(storage, study, runs=runs)
    reader = Reader(chosen)
    if not (sys.stdout.isatty() and screen.can_draw()):
        say(headline(reader.read()))
        rows = live_rows(chosen, last)
        print_table(rows, _headings(rows))
        return
    seen = (reader.read(), live_rows(chosen, last))
    try:
        with screen.shown(lambda: view(*seen, screen.columns())):
            while True:
                time.sleep(every)
                seen = (reader.read(), live_rows(chosen, last))
    except KeyboardInterrupt:
        print(headline(seen[0]))


def headline(status: Status) -> str:
    """A sweep in one line: how many trials have ended and of how many, the best one, and the time left."""
    rows = rows_of(status, time.time())
    said = f"{rows['study']}: {rows['trials']}"
    if status.running:
        said += f", {len(status.running)} running"
    parts = [said, *(f"{name}: {rows[name]}" for name in ("best", "left") if name in rows)]
    return in_a_line("; ".join(parts))


def live_rows(study: Study, last: int) -> list[Row]:
    """A row for each running trial and for the ``last`` finished ones, the latest first.

    ``number``, ``state``, ``value`` (of a running trial its best epoch so far), ``epoch`` (the last that was reported),
    ``seconds`` (so far), ``params.*``, ``holder`` (the process that runs it). Of a race also ``point`` (its name, or
    the number of its first trial) and ``seed``.
    """
    trials = queries.trials_of(study)
    which = _which_run(trials) if winners.is_race(study) else {}
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    finished = [trial for trial in trials if trial.state.is_finished()]
    finished.sort(key=lambda trial: (trial.datetime_complete or datetime.min, trial.number))
    shown = running[::-1] + (finished[-last:][::-1] if last else [])
    names = sorted({name for trial in shown for name in trial.params})
    return [
        {
            "number": trial.number,
            **which.get(trial.number, {}),
            "state": trial.state.name,
            "value": _value(study, trial),
            "epoch": max(trial.intermediate_values, default=None),
            "seconds": seconds_so_far(trial),
            **{f"params.{name}": trial.params.get(name) for name in names},
            "holder": holder(trial) if trial.state is TrialState.RUNNING else None,
        }
        for trial in shown
    ]


def _which_run(trials: Sequence[FrozenTrial]) -> dict[int, Row]:
    """The point and the seed of each trial, by number; a point goes by its name or the number of its first trial."""
    names: dict[str, Any] = {}
    for trial in trials:
        names.setdefault(point_id_of(trial), trial.user_attrs.get(POINT) or trial.number)
    return {trial.number: {"point": names[point_id_of(trial)], "seed": seed_of(trial)} for trial in trials}


def _value(study: Study, trial: FrozenTrial) -> Any:
    return queries.objective(trial) if trial.values or not trial.intermediate_values else value_so_far(study, trial)


def seconds_so_far(trial: FrozenTrial) -> int | None:
    """Seconds from the trial's start to its end, or until now; None where it has not started."""
    if trial.datetime_start is None:
        return None
    return round(((trial.datetime_complete or datetime.now()) - trial.datetime_start).total_seconds())


def holder(trial: FrozenTrial) -> str | None:
    """The process that trains the trial, or else the one that asked for it."""
    return next(reversed(leases.holders(trial)), None)


def _headings(rows: Sequence[Row]) -> dict[str, str]:
    keys = list(rows[0]) if rows else []
    keys = [key for key in keys if key != "holder" or any(row["holder"] for row in rows)]
    return {key: HEADINGS.get(key, heading) for key, heading in queries.short_names(keys).items()}


def view(status: Status, rows: Sequence[Row], width: int) -> Group:
    """The status of a sweep above a table of its trials, in so many columns."""
    table, dropped = laid_out(rows, _headings(rows), width)
    ends = "Ctrl-C ends this view"
    if dropped:
        ends = f"{tables.left_out(dropped, 'a wider terminal, or | cat, has all')}\n{ends}"
    status_block = block(rows_of(status, time.time()), share_of(status))
    return Group(status_block, table, Text(ends, style="dim"))
