"""Jobs in processes of their own, each launched by itself: none waits for another, and a lost one takes none along.

A launcher's ``launch`` returns when its jobs are over, so each is called in a thread. Everything else of a sweep stays
in the thread that asks: sampler, study, and what is said.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hydra.core.utils import JobReturn
from optuna.trial import Trial

from mdaf.errors import StoppedError
from mdaf.interruption import EXIT_RESUMABLE
from mdaf.sweeper.search.cluster import connect
from mdaf.sweeper.storage.optuna_internals import trial_id_of


class InterruptedJobError(StoppedError):
    """A launcher passed on that a job's process was asked to leave."""

    exit_code = EXIT_RESUMABLE


@dataclasses.dataclass(frozen=True)
class JobEnd:
    """A job that is over: what it returned, or what its launcher raised."""

    trial: Trial
    result: JobReturn | Exception


class JobSlots:
    """So many jobs at a time of one launcher, a plugin's."""

    def __init__(self, launcher: Any, count: int) -> None:
        self._launcher = launcher
        self.count = count
        self.running: dict[int, Trial] = {}  # by trial id
        self._ended: queue.SimpleQueue[JobEnd] = queue.SimpleQueue()
        if count > 1:
            connect(launcher)

    @property
    def free(self) -> int:
        """How many jobs may be started."""
        return self.count - len(self.running)

    def start(self, trial: Trial, job: Sequence[str]) -> None:
        """Launches a job for a trial; with a single slot it is waited for, in this thread."""
        self.running[trial_id_of(trial)] = trial
        if self.count == 1:
            self._launch(trial, job)
        else:
            # A daemon: a sweep that is interrupted does not wait for the nodes.
            threading.Thread(target=self._launch, args=(trial, job), name=f"trial {trial.number}", daemon=True).start()

    def wait(self, seconds: float) -> list[JobEnd]:
        """The jobs that ended since the last call; waits for one, if none did."""
        found: list[JobEnd] = []
        with suppress(queue.Empty):
            found.append(self._ended.get(timeout=seconds) if seconds > 0 else self._ended.get_nowait())
            while True:
                found.append(self._ended.get_nowait())
        for ended in found:
            del self.running[trial_id_of(ended.trial)]
        return found

    def _launch(self, trial: Trial, job: Sequence[str]) -> None:
        result: JobReturn | Exception
        try:
            [result] = self._launcher.launch([list(job)], initial_job_idx=trial.number)
        except Exception as error:
            result = error
        except KeyboardInterrupt as error:
            if threading.current_thread() is threading.main_thread():
                raise  # this process's own
            result = InterruptedJobError(str(error) or "its job was interrupted")  # a signal to the job's process
        self._ended.put(JobEnd(trial, result))
