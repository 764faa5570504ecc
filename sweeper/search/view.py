"""What a sweep shows on a terminal while it runs: one block with its status. In a pipe there is none."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from contextlib import ExitStack

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from mdaf.sweeper.storage.optuna_internals import trial_id_of
from mdaf.sweeper.storage.retrying import away_since, without_waiting
from mdaf.sweeper.study.status.block import rows_of, share_of
from mdaf.sweeper.study.status.status import Reader, Status
from mdaf.sweeper.trials.leases import holders
from mdaf.sweeper.trials.user_attrs import JOB
from mdaf.terminal import screen
from mdaf.terminal.counting import block
from mdaf.terminal.durations import in_words

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks at the study
MOST_NAMED = 3  # trials that are waited for


class SweepView:
    """The status block of a sweep, drawn while the context lasts. A thread reads the study for it.

    ``held``           the ids of the trials that this process holds; None if its workers hold them.
    ``jobs_elsewhere`` whether the launcher runs each job in a process of its own, whose output is brought above the
                       block.
    """

    def __init__(
        self, reader: Reader, study: Study, *, held: Collection[int] | None, jobs_elsewhere: bool = False
    ) -> None:
        self._reader, self._study = reader, study
        self._held, self._jobs_elsewhere = held, jobs_elsewhere
        self._status: Status | None = None
        self._waits_for = ""
        self._over = threading.Event()
        self._context = ExitStack()

    def __enter__(self) -> SweepView:
        if screen.can_draw():
            threading.Thread(target=self._look, name="status", daemon=True).start()
            self._context.enter_context(screen.shown(self._drawn, processes=self._jobs_elsewhere))
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._context.close()

    def _look(self) -> None:
        while not self._over.is_set():
            try:
                with without_waiting():
                    self._status = self._reader.read()
                    self._waits_for = self._what_it_waits_for()
            except Exception as error:  # what is shown must not end what it shows; the next look may do better
                log.debug("the status could not be read: %s", error)
            self._over.wait(LOOK_SECONDS)

    def _drawn(self) -> Table | None:
        if self._status is None:
            return None
        away = away_since()
        waits_for = self._waits_for
        if away is not None:
            waits_for = f"the study database, which has been away for {in_words(time.monotonic() - away)}"
        return block(rows_of(self._status, time.time(), waits_for), share_of(self._status))

    def _what_it_waits_for(self) -> str:
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if self._held is None or not running:
            return ""
        held = [trial for trial in running if trial_id_of(trial) in self._held]
        if not held:
            return f"{_named(running)}, which {_process_of(running)} runs"
        if self._jobs_elsewhere and all(JOB not in trial.user_attrs for trial in held):
            return f"the launcher, which has not begun {_named(held)}"
        return ""


def _named(trials: list[FrozenTrial]) -> str:
    numbers = ", ".join(str(trial.number) for trial in trials[:MOST_NAMED])
    more = len(trials) - MOST_NAMED
    return f"trial{'' if len(trials) == 1 else 's'} {numbers}" + (f" and {more} more" if more > 0 else "")


def _process_of(trials: list[FrozenTrial]) -> str:
    """The process that runs these trials, as host:pid, if it is one."""
    found = {":".join(process.split(":")[:2]) for trial in trials for process in holders(trial)[-1:]}
    return f"process {found.pop()}" if len(found) == 1 else "another process"
