"""The commands of the study query for a sweep that runs: ``watch``, ``reap``, ``retry`` and ``dashboard``."""

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

from mdaf.extras import install
from mdaf.process import is_gone
from mdaf.sweeper.storage.opening import masked, open_for_pages
from mdaf.sweeper.study import queries
from mdaf.sweeper.study.filters import HEADINGS
from mdaf.sweeper.study.options import (
    DEFAULT_STORAGE,
    RecordFormat,
    SingleRuns,
    StorageUrl,
    StudyName,
    TextOrJson,
    choose,
)
from mdaf.sweeper.study.output import json_text, laid_out, note, print_table, say
from mdaf.sweeper.study.queries import QueryError, Row
from mdaf.sweeper.study.status.block import rows_of, share_of
from mdaf.sweeper.study.status.status import Reader, Status, value_so_far
from mdaf.sweeper.trials import leases
from mdaf.sweeper.trials.retries import failed_points, point_of, tried_again_as
from mdaf.sweeper.trials.same_point import point_id_of, seed_of
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import DIED, ERROR, POINT, WITHDRAWN
from mdaf.terminal import screen, tables
from mdaf.terminal.counting import block
from mdaf.terminal.printable import in_a_line

# ---- watch


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
    which = _which_run(trials) if queries.is_race(study) else {}
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
            "seconds": _seconds_so_far(trial),
            **{f"params.{name}": trial.params.get(name) for name in names},
            "holder": _holder(trial) if trial.state is TrialState.RUNNING else None,
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


def _seconds_so_far(trial: FrozenTrial) -> int | None:
    if trial.datetime_start is None:
        return None
    return round(((trial.datetime_complete or datetime.now()) - trial.datetime_start).total_seconds())


def _holder(trial: FrozenTrial) -> str | None:
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


# ---- reap


def reap(
    yes: Annotated[bool, typer.Option("--yes", help="Give them up; without it nothing is changed.")] = False,
    trial: Annotated[
        list[int] | None,
        typer.Option("--trial", metavar="N", help="Give up trial N whatever its lease says; may be repeated."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help=f"Watch the leases of other machines for {leases.LEASE_SECONDS:.0f} s.")
    ] = False,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
    form: TextOrJson = RecordFormat.table,
) -> None:
    """Running trials whose process is gone. Changes something only with --yes.

    --yes fails them and puts their points in line again. A process of this machine is looked for; that of another
    machine is over once its lease stands still, which --wait sees. A trial without a lease is another program's: only
    --trial N gives it up.
    """
    chosen = choose(storage, study, read_only=not yes)
    running = queries.trials_of(chosen, TrialState.RUNNING)
    by_hand = _running(chosen, trial or [])
    lease_watch = _watched(chosen) if wait else None
    rows = [_verdict(one, lease_watch, one in by_hand) for one in running]
    if yes:
        trials = Trials(chosen)
        retries = trials.give_up_by_hand(by_hand)
        retries |= {death.number: death.retry for death in trials.reap(lease_watch)}
        for row in rows:
            row["given_up"], row["retry"] = row["number"] in retries, retries.get(row["number"])
    if form is RecordFormat.json:
        say(json_text(rows))
    else:
        print_table(rows, {key: "trial" if key == "number" else key.replace("_", " ") for key in [*rows[:1], {}][0]})
    dead = sum(row["dead"] for row in rows)
    if not running:
        note("no trial is running")
    elif not yes:
        note(f"{dead} of {len(running)} would be given up" + ("; nothing was changed, --yes does it" if dead else ""))


def _running(study: Study, numbers: Sequence[int]) -> list[FrozenTrial]:
    found = [queries.find_trial(study, number) for number in numbers]
    for one in found:
        if one.state is not TrialState.RUNNING:
            raise QueryError(f"trial {one.number} is {one.state.name}, not RUNNING: there is nothing to give up")
    return found


def _watched(study: Study) -> leases.LeaseWatch:
    """A watch that has looked at every lease for as long as one may stand still."""
    lease_watch = leases.LeaseWatch()
    looks = int(leases.LEASE_SECONDS / leases.RENEW_SECONDS) + 1
    note(f"watching the leases for {leases.LEASE_SECONDS:.0f} s")
    for look in range(looks):
        if look:
            time.sleep(leases.RENEW_SECONDS)
        for one in queries.trials_of(study, TrialState.RUNNING):
            lease_watch.unchanged(one)
    return lease_watch


def _verdict(trial: FrozenTrial, lease_watch: leases.LeaseWatch | None, by_hand: bool) -> Row:
    """number, dead, why, seconds since its start, holder."""
    reason = "given up by hand" if by_hand else leases.why_dead(trial, lease_watch)
    if reason is not None:
        why = reason
    elif leases.LEASE_EXPIRES not in trial.user_attrs:
        why = "it has no lease, so another program may run it; --trial gives it up"
    elif any(is_gone(process) is False for process in leases.holders(trial)):
        why = "its process lives"
    else:
        why = "its process can't be seen from here" + ("" if lease_watch else "; --wait watches its lease")
    return {
        "number": trial.number,
        "dead": reason is not None,
        "why": why,
        "seconds": _seconds_so_far(trial),
        "holder": _holder(trial),
    }


# ---- retry


def retry(
    numbers: Annotated[list[int] | None, typer.Argument(metavar="[N]...", help="Failed trials; default: all.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Put them in line; without it nothing is changed.")] = False,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
    form: TextOrJson = RecordFormat.table,
) -> None:
    """Failed trials whose points may be tried again. Changes something only with --yes.

    --yes puts the point of each in line once more: the sweep's command, typed again, tries them before anything new. A
    point that another trial finished, has, or is to have is left alone.
    """
    chosen = choose(storage, study, read_only=not yes)
    trials = queries.trials_of(chosen)
    every = [failed.last for failed in failed_points(trials).values()]
    wanted = [_failed(chosen, number, trials) for number in dict.fromkeys(numbers)] if numbers else every
    rows: list[Row] = []
    for one in wanted:
        point, why = one.user_attrs.get(POINT), one.user_attrs.get(ERROR) or one.user_attrs.get(DIED)
        row: Row = {"number": one.number, "point": point, "why": why}
        rows.append(row | ({"retry": Trials(chosen).retry(one)} if yes else {}))
    if form is RecordFormat.json:
        say(json_text(rows))
    elif rows:
        print_table(rows, {key: "trial" if key == "number" else key for key in rows[0]})
    finished = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    if not rows:
        note("no failed trial is left to be tried again")
    elif yes:
        note(f"{len(rows)} in line: the sweep's command tries them, if its n_trials is above the {finished} finished")
    else:
        note(f"{len(rows)} would be put in line; nothing was changed, --yes does it")


def _failed(study: Study, number: int, trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """A trial that failed and that no other one has tried again. QueryError says what became of any other."""
    one = queries.find_trial(study, number)
    if one.state is not TrialState.FAIL:
        raise QueryError(f"trial {number} is {one.state.name}, not FAIL: there is nothing to try again")
    if WITHDRAWN in one.user_attrs or not point_of(one):
        raise QueryError(f"trial {number} never had a point: there is nothing to try again")
    if (later := tried_again_as(one, trials)) is not None:
        raise QueryError(f"trial {number} is tried again as trial {later.number}, which is {later.state.name}")
    return one


# ---- dashboard


def dashboard(
    host: Annotated[str, typer.Option("--host", help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Where it listens.")] = 8080,
    storage: StorageUrl = DEFAULT_STORAGE,
) -> None:
    """Starts optuna-dashboard on the storage, until Ctrl-C. Its pages can rename and delete studies."""
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise QueryError(
            f"the dashboard needs optuna-dashboard, which isn't installed: {install('dashboard')}"
        ) from None
    opened = open_for_pages(storage)
    note(f"{masked(storage)} is shown at http://{host}:{port}/dashboard, until Ctrl-C")
    try:
        run_server(opened, host=host, port=port)
    except OSError as error:
        raise QueryError(f"can't listen on {host}:{port}: {error.strerror}; --port takes another") from None
    except KeyboardInterrupt:
        return
