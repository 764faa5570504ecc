"""Runs a sweep in several worker processes on this machine. Each worker runs the same command as this process.

An environment variable gives each worker its number. A worker asks the study for a trial whenever it is free. Its
output appears on the terminal line by line, with its number in front. Workers end when this process ends, at Ctrl-C,
and when this process is killed (``mdaf.processes.children``).
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

from mdaf.errors import StoppedError, UserError
from mdaf.hardware import cores, gpus
from mdaf.processes.children import Child, end_all
from mdaf.processes.interruption import EXIT_HUNG, EXIT_RESUMABLE, Interrupted, Interruption

log = logging.getLogger(__name__)

WORKER_VARIABLE = "MDAF_SWEEP_WORKER"  # a worker's number
BEGAN_VARIABLE = "MDAF_SWEEP_BEGAN"  # when the sweep began, in seconds since 1970

POLL_SECONDS = 0.1
GRACE_SECONDS = 20.0  # from Ctrl-C to SIGKILL, for a worker to save a checkpoint and to write to the study
RESTARTS = 3  # how many killed workers a sweep replaces


class WorkerError(UserError):
    """A worker ended with an error, which it has printed."""


class WorkerStoppedError(StoppedError):
    """A worker stopped in the middle of a trial, without a mistake of the user. The same command resumes the sweep."""

    exit_code = EXIT_RESUMABLE


def is_worker() -> bool:
    """Whether this process is a worker of another one."""
    return WORKER_VARIABLE in os.environ


def is_first() -> bool:
    """Whether this process logs for the whole sweep: it is the first worker, or the only process."""
    return os.environ.get(WORKER_VARIABLE, "0") == "0"


def began() -> float:
    """When the sweep began, in seconds since 1970: in a worker, when the process that started it began; else now."""
    return float(os.environ.get(BEGAN_VARIABLE, time.time()))


def run_workers(count: int, devices: Sequence[str] = ()) -> None:
    """Runs this process's own command in ``count`` workers at the same time, and waits for their end.

    ``devices``  the names of the GPUs that they share.

    A worker that was killed is replaced, at most ``RESTARTS`` times in all. The next process that reads the study tries
    its trial again. If a worker ends with an error, ends the others and raises WorkerError, or WorkerStoppedError if
    the same command can resume.
    """
    workers: list[Worker] = []
    with Interruption() as interruption:  # defers signals: one during the start of a process would leave it behind
        try:
            _run(workers, count, devices, interruption)
        finally:
            _end_all(workers)


def _run(workers: list[Worker], count: int, devices: Sequence[str], interruption: Interruption) -> None:
    since = began()
    for number in range(count):
        workers.append(_start(number, count, devices, since))
    restarts = 0
    while (codes := [worker.poll() for worker in workers]) != [0] * count:
        interruption.check()
        for number, code in enumerate(codes):
            if code is None or code == 0:
                continue
            if code > 0 and code != EXIT_HUNG:
                workers[number].say_the_rest()
                if code == EXIT_RESUMABLE and workers[number].complaint is None:
                    raise Interrupted(f"as worker {number} was")
                ended = f"worker {number} ended with exit code {code}; what it said is above"
                kind = WorkerStoppedError if code == EXIT_RESUMABLE else WorkerError
                raise kind(workers[number].complaint or ended)
            restarts += 1
            if restarts > RESTARTS:
                raise WorkerError(f"workers were lost {restarts} times, the last one {_how_lost(code)}")
            log.warning("worker %d %s and is replaced", number, _how_lost(code))
            workers[number].close()
            workers[number] = _start(number, count, devices, since)
        time.sleep(POLL_SECONDS)


class Worker:
    """One worker process, and the thread that prints its output.

    ``complaint`` is the error that the worker printed, if any.
    """

    def __init__(self, number: int, environment: Mapping[str, str]) -> None:
        self.number = number
        self.complaint: str | None = None
        self.ending = False  # the worker was asked to end: its output is no longer printed
        self.process = Child(
            [sys.executable, *sys.orig_argv[1:]],
            environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only this process, which then asks each worker to end
        )
        assert self.process.stdout is not None
        self._thread = threading.Thread(target=self._pass_on, args=(self.process.stdout,), daemon=True)
        self._thread.start()

    def poll(self) -> int | None:
        """The worker's exit code, negative if a signal ended it; None while it runs."""
        return self.process.poll()

    def close(self) -> None:
        """Prints the rest of the output of a worker that has ended, and releases its resources."""
        self.say_the_rest()
        self.process.let_go()

    def say_the_rest(self) -> None:
        """Waits until all output of the worker is printed."""
        self._thread.join(GRACE_SECONDS)

    def _pass_on(self, lines: IO[bytes]) -> None:
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r\n")
            if text.startswith("error: "):  # printed once, by this process
                self.complaint = text.removeprefix("error: ")
            elif not self.ending:
                sys.stderr.write(f"{self.number}| {text}\n")
        lines.close()


def _start(number: int, count: int, devices: Sequence[str], since: float) -> Worker:
    environment = os.environ | {WORKER_VARIABLE: str(number), BEGAN_VARIABLE: repr(since), "PYTHONUNBUFFERED": "1"}
    environment |= cores.environment_of(count)
    if mine := own_gpus(number, count, devices):
        environment |= gpus.environment_of(mine)
    return Worker(number, environment)


def own_gpus(number: int, count: int, devices: Sequence[str]) -> list[str]:
    """The GPUs of a worker: an even part of all; where there are fewer than workers, several workers share one."""
    return list(devices[number::count]) or [devices[number % len(devices)]] if devices else []


def _end_all(workers: list[Worker]) -> None:
    """Asks all running workers to save, to write to the study, and to end. No process remains."""
    for worker in workers:
        worker.ending = worker.poll() is None
    end_all([worker.process for worker in workers], GRACE_SECONDS)
    for worker in workers:
        worker.close()


def _how_lost(code: int) -> str:
    """How a worker was lost, as a phrase."""
    if code == EXIT_HUNG:
        return "hung"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
