"""What a sweep shows on a terminal while it runs: one block with its status. In a pipe there is none."""

from __future__ import annotations

import time
from collections.abc import Collection

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from mdaf.sweeper.storage.optuna_internals import trial_id_of
from mdaf.sweeper.storage.retrying import away_since, without_waiting
from mdaf.sweeper.study.status.block import rows_of, share_of
from mdaf.sweeper.study.status.status import Reader, Status
from mdaf.sweeper.trials.leases import holders
from mdaf.sweeper.trials.user_attrs import JOB
from mdaf.terminal.counting import block
from mdaf.terminal.durations import in_words
from mdaf.terminal.watched import Watched

MOST_NAMED = 3  # trials that are waited for


class SweepView(Watched):
    """The status block of a sweep, drawn while the context lasts. A thread reads the study for it.

    ``held``           the ids of the trials that this process holds; None if its workers hold them.
    ``jobs_elsewhere`` whether the launcher runs each job in a process of its own, whose output is brought above the
                       block.
    """

    def __init__(
        self, reader: Reader, study: Study, *, held: Collection[int] | None, jobs_elsewhere: bool = False
    ) -> None:
        super().__init__(processes=jobs_elsewhere)
        self._reader, self._study = reader, study
        self._held, self._jobs_elsewhere = held, jobs_elsewhere
        self._status: Status | None = None
        self._waits_for = ""

    def look(self) -> None:
        """Reads the study. A database that is away is not waited for."""
        with without_waiting():
            self._status = self._reader.read()
            self._waits_for = self._what_it_waits_for()

    def drawn(self) -> Table | None:
        """The block as it is now; None before the first look."""
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
