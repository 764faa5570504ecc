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

import logging
import threading
import time
from collections.abc import Collection
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from mdaf.processes.identity import is_gone, this_process
from mdaf.sweeper.storage.late_reads import attribute
from mdaf.sweeper.storage.optuna_internals import trial_id_of
from mdaf.sweeper.storage.retrying import without_waiting
from mdaf.sweeper.trials.user_attrs import JOB, LEASE_EXPIRES, WORKER

log = logging.getLogger(__name__)

LEASE_SECONDS = 120.0
RENEW_SECONDS = 20.0
UNSIGNED_SECONDS = 30.0  # for which a trial may run before its holder has signed it
NEVER_BEGAN = "its process was interrupted before it began"


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


# ---- judging


class LeaseWatch:
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
    return [str(process) for name in (WORKER, JOB) if (process := attribute(trial, name))]


def why_dead(trial: FrozenTrial, watch: LeaseWatch | None, held: Collection[int] | None = None) -> str | None:
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
