"""Leases: how a study knows that a RUNNING trial still has a process, and what becomes of it when it has none.

Whoever holds a trial writes who it is and renews a lease from a background thread. A trial is given up only when

- every process recorded as holding it ran on this very machine and is gone (its id is free, or started anew), or
- its holder can't be seen from here (another machine, container or user), and the lease stood still for
  ``LEASE_SECONDS`` of this process's own watching.

No clock of another machine is read: what is compared is whether the lease changed, and the time in which it did not is
counted by this process's monotonic clock, at most ``RENEW_SECONDS`` from one look to the next. So neither a clock that
jumps, nor a machine that slept, nor a database that was away makes a living trial look dead. A process that lives on
this machine is never given up, and neither is a trial without a lease: another program's.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mdaf.process import is_gone, this_process
from mdaf.sweeper.storage.optuna_internals import storage_of, trial_id_of
from mdaf.sweeper.storage.retrying import without_waiting
from mdaf.sweeper.trials.retries import enqueue_retries, point_of
from mdaf.sweeper.trials.user_attrs import (
    DEATHS,
    DIED,
    INTERRUPTED,
    INTERRUPTIONS,
    JOB,
    LEASE_EXPIRES,
    MAX_DEATHS,
    OUTCOME,
    RETRY,
    WORKER,
)

log = logging.getLogger(__name__)

LEASE_SECONDS = 120.0
RENEW_SECONDS = 20.0
UNSIGNED_SECONDS = 30.0  # for which a trial may run before its holder has signed it
DEFAULT_MAX_DEATHS = 5  # a point that took so many processes with it is not tried again
REAP_SECONDS = 10.0  # between two looks for trials whose process is gone, where there is work to do
NEVER_BEGAN = "its process was interrupted before it began"


@dataclass(frozen=True)
class Death:
    """A trial that was given up: its number, why, and the number of the waiting trial that tries its point again."""

    number: int
    reason: str
    retry: int | None


# ---- holding


def lease(seconds: float = LEASE_SECONDS) -> float:
    """The value of ``LEASE_EXPIRES`` as of now."""
    return time.time() + seconds


class Leases:
    """Renews the leases of the trials that this process holds, from a background thread while the context lasts."""

    def __init__(self, storage: BaseStorage, every: float = RENEW_SECONDS) -> None:
        self._storage = storage
        self._every = every
        self.held: set[int] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)

    def __enter__(self) -> Leases:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(RENEW_SECONDS / 4)  # a database that does not answer is not waited for

    def hold(self, trial_id: int) -> None:
        """From now on the trial's lease is renewed."""
        self.held.add(trial_id)

    def release(self, trial_id: int) -> None:
        """The trial is over, or is another process's."""
        self.held.discard(trial_id)

    def _renew(self) -> None:
        while not self._over.wait(self._every):
            for trial_id in sorted(self.held):
                try:
                    with without_waiting():
                        self._storage.set_trial_user_attr(trial_id, LEASE_EXPIRES, lease())
                except UpdateFinishedTrialError:
                    self.held.discard(trial_id)
                except Exception as error:  # a database that is away comes back: the next renewal is soon
                    log.debug("a lease could not be renewed: %s", error)
        self._storage.remove_session()  # this thread's own connection


# ---- giving up


class Watch:
    """How long each lease has stood still, by this process's own clock."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, float, float]] = {}  # trial id -> lease, when looked at, seconds unchanged

    def unchanged(self, trial: FrozenTrial) -> float:
        """Seconds for which the trial's lease has been seen not to change; a look counts ``RENEW_SECONDS`` at most."""
        now, value = time.monotonic(), trial.user_attrs.get(LEASE_EXPIRES)
        before, looked, still = self._seen.get(trial_id_of(trial), (value, now, 0.0))
        still = still + min(now - looked, RENEW_SECONDS) if value == before else 0.0
        self._seen[trial_id_of(trial)] = (value, now, still)
        return still


def holders(trial: FrozenTrial) -> list[str]:
    """The processes recorded as holding a trial."""
    return [str(trial.user_attrs[name]) for name in (WORKER, JOB) if trial.user_attrs.get(name)]


def why_dead(trial: FrozenTrial, watch: Watch | None, held: Collection[int] | None = None) -> str | None:
    """Why nobody runs this RUNNING trial any more; None while somebody does or may."""
    if LEASE_EXPIRES not in trial.user_attrs:
        return None
    held_by = holders(trial)
    if held is not None and trial_id_of(trial) not in held and held_by == [this_process()]:
        return NEVER_BEGAN
    gone = [is_gone(process) for process in held_by]
    if held_by and all(gone):
        return f"its process {held_by[-1]} is gone"
    if False in gone or watch is None:
        return None
    if (still := watch.unchanged(trial)) >= (LEASE_SECONDS if held_by else UNSIGNED_SECONDS):
        return f"its lease was not renewed for {still:.0f} s, last by {held_by[-1] if held_by else 'nobody'}"
    return None


def reap(
    study: optuna.Study,
    watch: Watch | None = None,
    held: Collection[int] | None = None,
    *,
    interrupted: bool = False,
) -> list[Death]:
    """Fails the RUNNING trials whose process is gone and puts the point of each in line again, once per death.

    One whose job came to its end, and recorded it, is told so instead.

    A trial that another machine holds is given up only with a ``watch`` that is kept from call to call and has seen
    its lease stand still for ``LEASE_SECONDS``; without one only processes of this machine are judged. Any number of
    processes may reap at once, and one that dies half-way is made good by the next. ``held`` are the ids of the trials
    that this process holds, if it knows: any other that names it is nobody's. ``interrupted``: whatever is dead was
    asked to end, and too slow to say so.
    """
    given_up = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if (reason := why_dead(trial, watch, held)) is None or tell_outcome(study, trial):
            continue
        if give_up(study, trial, reason, interrupted=interrupted or reason == NEVER_BEGAN or not holders(trial)):
            given_up[trial.number] = reason
    retries = enqueue_retries(study, at_once=given_up)
    return [Death(number, reason, retries.get(number)) for number, reason in given_up.items()]


class Reaper:
    """Gives up the trials whose process is gone, every so often, for a sweep that holds ``leases``."""

    def __init__(self, study: optuna.Study, leases: Leases) -> None:
        self._study, self._leases = study, leases
        self._watch, self._looked = Watch(), float("-inf")

    def look(self, *, at_once: bool) -> bool:
        """Looks if it is time to, or ``at_once``; whether it did."""
        if not at_once and time.monotonic() - self._looked <= REAP_SECONDS:
            return False
        self._looked = time.monotonic()
        for death in reap(self._study, self._watch, held=self._leases.held):
            again = f"; trial {death.retry} tries its point again" if death.retry is not None else ""
            log.warning("trial %d is given up: %s%s", death.number, death.reason, again)
        return True


def tell_outcome(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Tells the study what the job of a trial recorded of its own end; False if it came to none."""
    outcome = trial.user_attrs.get(OUTCOME)
    if outcome is None or not all(map(math.isfinite, outcome["values"] or [])):
        return False
    storage, state, values = storage_of(study), TrialState[outcome["state"]], outcome["values"]
    if state is TrialState.PRUNED and trial.intermediate_values:  # as Study.tell does
        values = [trial.intermediate_values[max(trial.intermediate_values)]]
    with contextlib.suppress(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial_id_of(trial), state, values)
    return True


def give_up(study: optuna.Study, trial: FrozenTrial, reason: str, *, interrupted: bool = False) -> bool:
    """Tells a trial FAIL with the reason; False if it is over by now. ``enqueue_retries`` tries its point again.

    One that was ``interrupted``, or whose job has recorded that it was, has done nothing wrong: its point is tried
    again however often that happens. A process that died may have died of the point, which ``max_deaths`` bounds.
    """
    storage = storage_of(study)
    attributes = storage.get_trial(trial_id_of(trial)).user_attrs  # a job may have written since the trial was read
    interrupted = interrupted or bool(attributes.get(INTERRUPTED))
    counted = INTERRUPTIONS if interrupted else DEATHS
    times = attributes.get(counted, 0) + 1
    again = bool(point_of(trial)) and (interrupted or times < max_deaths(study))
    try:
        storage.set_trial_user_attr(trial_id_of(trial), DIED, reason)
        if interrupted and not attributes.get(INTERRUPTED):
            storage.set_trial_user_attr(trial_id_of(trial), INTERRUPTED, reason)
        if again:
            storage.set_trial_user_attr(trial_id_of(trial), RETRY, {counted: times})
        return storage.set_trial_state_values(trial_id_of(trial), TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False


def max_deaths(study: optuna.Study) -> float:
    """After how many deaths a point is not tried again, as the latest sweep of the study was told."""
    try:
        return float(study.user_attrs.get(MAX_DEATHS, DEFAULT_MAX_DEATHS))
    except (TypeError, ValueError):  # another program's attribute of that name
        return DEFAULT_MAX_DEATHS


def bound_deaths(study: optuna.Study, most: float) -> None:
    """Keeps the bound in the study, where whoever gives a trial up finds it."""
    if most != max_deaths(study):
        study.set_user_attr(MAX_DEATHS, "inf" if most == math.inf else int(most))
