"""Trials that died or failed: the commands ``reap`` and ``retry``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdaf.processes.identity import is_gone
from mdaf.sweeper.study import queries
from mdaf.sweeper.study.commands.options import DEFAULT_STORAGE, RecordFormat, StorageUrl, StudyName, TextOrJson, choose
from mdaf.sweeper.study.commands.output import json_text, note, print_table, say
from mdaf.sweeper.study.commands.watched import holder, seconds_so_far
from mdaf.sweeper.study.queries import QueryError, Row
from mdaf.sweeper.trials import leases
from mdaf.sweeper.trials.retries import failed_points, point_of, tried_again_as
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import DIED, ERROR, POINT, WITHDRAWN


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
        "seconds": seconds_so_far(trial),
        "holder": holder(trial),
    }


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
