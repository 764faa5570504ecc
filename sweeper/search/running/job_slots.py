"""Runs several jobs at the same time, each launched by itself, so that no job waits for another or fails with it.

A launcher's method ``launch`` returns when its jobs have ended, so each call has its own thread. Everything else (the
sampler, the study, messages) stays in the thread of the sweep. ``trial_loop`` uses it for launchers whose jobs run in
processes of their own.
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
from mdaf.processes.interruption import EXIT_RESUMABLE
from mdaf.sweeper.search.running.cluster import connect
from mdaf.sweeper.storage.optuna_internals import trial_id_of


class InterruptedJobError(StoppedError):
    """A job's process was asked to end, as its launcher reported."""

    exit_code = EXIT_RESUMABLE


@dataclasses.dataclass(frozen=True)
class JobEnd:
    """A job that has ended: its trial, and its return value or the exception of its launcher."""

    trial: Trial
    result: JobReturn | Exception


class JobSlots:
    """Slots for ``count`` jobs at the same time, all launched by one launcher."""

    def __init__(self, launcher: Any, count: int) -> None:
        self._launcher = launcher
        self.count = count
        self.running: dict[int, Trial] = {}  # by trial id
        self._ended: queue.SimpleQueue[JobEnd] = queue.SimpleQueue()
        if count > 1:
            connect(launcher)

    @property
    def free(self) -> int:
        """How many more jobs can be started now."""
        return self.count - len(self.running)

    def start(self, trial: Trial, job: Sequence[str]) -> None:
        """Launches a trial's job, given as overrides. With a single slot, the call returns when the job has ended."""
        self.running[trial_id_of(trial)] = trial
        if self.count == 1:
            self._launch(trial, job)
        else:
            # A daemon thread, so that an interrupted sweep does not wait for the nodes.
            threading.Thread(target=self._launch, args=(trial, job), name=f"trial {trial.number}", daemon=True).start()

    def wait(self, seconds: float) -> list[JobEnd]:
        """The jobs that ended since the last call. If none did, waits for one, for at most ``seconds``."""
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
                raise  # this process itself was interrupted
            result = InterruptedJobError(str(error) or "its job was interrupted")  # a signal to the job's process
        self._ended.put(JobEnd(trial, result))
