"""The processes that train beside this one, one for each further GPU. They live as long as the launcher.

Each has a GPU of its own (``CUDA_VISIBLE_DEVICES``), so CUDA's state, captured graphs and a crash of one process are
its own. A share of jobs goes to it as composed configs through a socket, and the jobs' results come back. What it says
on standard error is printed here, line by line. It leaves when this process ends, like any ``Child``.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from typing import IO, TYPE_CHECKING

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig

from mdaf.errors import LostError, UserError
from mdaf.hardware import gpus
from mdaf.hydra_internals import keeps_traceback, returned
from mdaf.messages.reporting import one_line
from mdaf.processes import signals
from mdaf.processes.children import SECONDS_TO_SAVE, Child, end_all
from mdaf.processes.interruption import EXIT_HUNG, EXIT_RESUMABLE, how_to_go_on

if TYPE_CHECKING:  # it imports torch, and the processes are started before
    from mdaf.multirun.launching.lockstep import ComposedJob

POLL_SECONDS = 0.2
MEMBER = "mdaf.multirun.launching.member"


class Crew:
    """Processes that take a share of a launch each.

    ``environments``  of each process, beyond this one's.
    ``of_a_group``    what a group costs there besides its replicas, in replicas.
    ``own_cores``     to which this process is bound while the others train; none: to all.
    """

    def __init__(
        self, environments: Sequence[Mapping[str, str]], of_a_group: float, own_cores: Sequence[int] = ()
    ) -> None:
        self.of_a_group, self.own_cores = of_a_group, own_cores
        self._environments = list(environments)
        self._members = [_Member(environment) for environment in self._environments]
        self._given: list[Sequence[ComposedJob]] = []
        self._finalizer = weakref.finalize(self, _wait_for, self._members)  # also when this process ends

    def __len__(self) -> int:
        return len(self._members)

    def dismiss(self) -> None:
        """Lets idle processes leave, without waiting for them before this process ends."""
        for member in self._members:
            member.close()
        _DISMISSED.append(self)

    def check(self, context: HydraContext) -> None:
        """UserError where other processes cannot call what is to be called around each job."""
        try:
            pickle.dumps(context.callbacks)
        except Exception as error:
            raise UserError(
                f"hydra.callbacks: cannot be given to the processes of several GPUs ({one_line(error)}); "
                f"{gpus.KEY}=1 trains all jobs in this process"
            ) from None

    def begin(
        self,
        context: HydraContext,
        config: DictConfig,
        shares: Sequence[Sequence[ComposedJob]],
        max_replicas: int | None,
    ) -> None:
        """Gives each process its share of the jobs. One that was lost in an earlier launch is started again."""
        self._given = list(shares)
        for number, jobs in enumerate(shares):
            if self._members[number].poll() is not None:
                self._members[number].close()
                self._members[number] = _Member(self._environments[number])
            request = (sys.argv, context.callbacks, context.execution_whitelist, config, list(jobs), max_replicas)
            self._members[number].send(pickle.dumps(request))

    def results(self) -> list[list[JobReturn]]:
        """Waits for the results of each share. Of a process that was lost, each job has failed with a LostError."""
        return [
            member.receive() or [_lost(job, jobs, member) for job in jobs]
            for member, jobs in zip(self._members, self._given, strict=False)
        ]

    @contextmanager
    def ending_with_this(self) -> Iterator[None]:
        """While it lasts, a signal to this process also asks the others to save and to leave, at the same time.

        However it is left but by its end, no process remains.
        """
        over = threading.Event()
        thread = threading.Thread(target=self._pass_signals_on, args=(over,), name="crew", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            over.set()
            self._end()
            raise
        finally:
            over.set()
            thread.join()

    def _pass_signals_on(self, over: threading.Event) -> None:
        while not over.wait(POLL_SECONDS):
            if signals.asked() is not None:
                for member in self._members:
                    member.process.let_go()
                return

    def _end(self) -> None:
        """Asks all processes to save and to leave, and waits for that; impatience kills them."""
        try:
            end_all([member.process for member in self._members], SECONDS_TO_SAVE)
        finally:
            for member in self._members:
                member.kill()


class _Member:
    """One process, the socket to it, and the thread that prints what it says."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._ours, theirs = Pipe()
        command = [sys.executable, "-m", MEMBER, str(theirs.fileno())]
        try:
            self.process = Child(
                command,
                {**os.environ, **environment},
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches only this process, which then asks the others
            )
        finally:
            theirs.close()
        assert self.process.stderr is not None
        self._thread = threading.Thread(target=_print, args=(self.process.stderr,), daemon=True)
        self._thread.start()

    def poll(self) -> int | None:
        return self.process.poll()

    def send(self, request: bytes) -> None:
        """Sends a request; that a process is gone is found where its answer is waited for."""
        with suppress(OSError):
            self._ours.send_bytes(request)

    def receive(self) -> list[JobReturn] | None:
        """Waits for the answer; None if the process is gone without one."""
        try:
            while not self._ours.poll(POLL_SECONDS):
                pass
            answer: list[JobReturn] = pickle.loads(self._ours.recv_bytes())
        except (EOFError, OSError):
            self.process.wait()
            self._thread.join()
            return None
        return [_raised(result) for result in answer]

    def close(self) -> None:
        """Closes the socket, after which an idle process leaves."""
        self._ours.close()

    def kill(self) -> None:
        """Ends the process, unless it has ended."""
        self.close()
        if self.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.let_go()
        self._thread.join()


def _print(lines: IO[bytes]) -> None:
    for line in lines:
        sys.stderr.write(line.decode(errors="replace"))
    lines.close()


#: Crews whose processes are leaving.
_DISMISSED: list[Crew] = []


def _wait_for(members: Sequence[_Member]) -> None:
    """Lets idle processes leave, and waits for them."""
    for member in members:
        member.close()
    for member in members:
        try:
            member.process.end(SECONDS_TO_SAVE)
        finally:
            member.kill()


def _lost(job: ComposedJob, jobs: Sequence[ComposedJob], member: _Member) -> JobReturn:
    """The result of a job whose process is gone."""
    overrides = [str(override) for override in job.config.hydra.overrides.task]
    others = ", ".join(f"#{one.number}" for one in jobs)
    text = f"the process of {'job' if len(jobs) == 1 else 'jobs'} {others} {_how(member.poll())}; {how_to_go_on()}"
    return _raised(JobReturn(overrides=overrides, status=JobStatus.FAILED, _return_value=LostError(text)))


def _raised(result: JobReturn) -> JobReturn:
    """The result with a traceback of its error that begins here, unless Hydra has kept one: it is no error of Hydra's.

    The traceback of the other process stands in a note of the error.
    """
    error = returned(result)
    if isinstance(error, Exception) and error.__traceback__ is None and not keeps_traceback(result):
        try:
            raise error
        except Exception:
            pass
    return result


def _how(code: int | None) -> str:
    """How a process ended without an answer, as a phrase."""
    if code == EXIT_HUNG:
        return "hung"
    if code == EXIT_RESUMABLE:
        return "was asked to leave by a signal"
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
