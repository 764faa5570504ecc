"""Several worker processes of one sweep on this machine: each is the same command, and asks when it is free.

Workers are told apart by an environment variable. Their output reaches the terminal line by line behind their number.
They end with this process: at its end, at Ctrl-C, and when it is killed (``mdaf.children``).
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from mdaf.children import Child
from mdaf.errors import StoppedError, UserError
from mdaf.interruption import EXIT_HUNG, EXIT_RESUMABLE, Interrupted, Interruption

log = logging.getLogger(__name__)

WORKER_VARIABLE = "MDAF_SWEEP_WORKER"  # a worker's number
BEGAN_VARIABLE = "MDAF_SWEEP_BEGAN"  # unix seconds when the sweep began

POLL_SECONDS = 0.1
GRACE_SECONDS = 20.0  # from Ctrl-C to SIGKILL: time to save and to tell the study
RESTARTS = 3  # of workers that were killed, in one sweep


class WorkerError(UserError):
    """A worker ended for a reason that it has said itself."""


class WorkerStoppedError(StoppedError):
    """A worker left in the midst of things, by no mistake of the user's: the same command goes on."""

    exit_code = EXIT_RESUMABLE


def is_worker() -> bool:
    """Whether this process is a worker of another one."""
    return WORKER_VARIABLE in os.environ


def is_first() -> bool:
    """Whether this process speaks for all: the first worker, or the only process."""
    return os.environ.get(WORKER_VARIABLE, "0") == "0"


def began() -> float:
    """When the sweep began, in unix seconds: now, or when the process that started this worker did."""
    return float(os.environ.get(BEGAN_VARIABLE, time.time()))


def run_workers(count: int) -> None:
    """Runs this process's own command ``count`` times at once, to the end.

    A worker that was killed is replaced, ``RESTARTS`` times; its trial is tried again by whoever looks first.
    Raises WorkerError if one ends with an error, after ending the others.
    """
    workers: list[Worker] = []
    with Interruption() as interruption:  # raised while a process starts, a signal would leave it behind
        try:
            _run(workers, count, interruption)
        finally:
            _end(workers)


def _run(workers: list[Worker], count: int, interruption: Interruption) -> None:
    since = began()
    for number in range(count):
        workers.append(_start(number, count, since))
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
                raise WorkerError(f"workers were lost {restarts} times, the last one {_end_of(code)}")
            log.warning("worker %d %s and is replaced", number, _end_of(code))
            workers[number].close()
            workers[number] = _start(number, count, since)
        time.sleep(POLL_SECONDS)


class Worker:
    """One worker process, and the thread that passes on what it says."""

    def __init__(self, number: int, environment: Mapping[str, str]) -> None:
        self.number = number
        self.complaint: str | None = None
        self.ending = False  # was asked to: what it says of that is of no interest
        self.process = Child(
            [sys.executable, *sys.orig_argv[1:]],
            environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches this process alone, which asks each worker
        )
        assert self.process.stdout is not None
        self._thread = threading.Thread(target=self._pass_on, args=(self.process.stdout,), daemon=True)
        self._thread.start()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self.process.poll()

    def ask_to_end(self) -> None:
        """It saves where it stands, tells the study, and leaves."""
        self.ending = True
        self.process.let_go()

    def close(self) -> None:
        """Lets go of a process that is over."""
        self.say_the_rest()
        self.process.let_go()

    def say_the_rest(self) -> None:
        """Waits until everything that the process said is passed on."""
        self._thread.join(GRACE_SECONDS)

    def _pass_on(self, lines: IO[bytes]) -> None:
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r\n")
            if text.startswith("error: "):  # said once, by this process
                self.complaint = text.removeprefix("error: ")
            elif not self.ending:
                sys.stderr.write(f"{self.number}| {text}\n")
        lines.close()


def _start(number: int, count: int, since: float) -> Worker:
    environment = os.environ | {WORKER_VARIABLE: str(number), BEGAN_VARIABLE: repr(since), "PYTHONUNBUFFERED": "1"}
    threads = str(max(1, (os.cpu_count() or 1) // count))
    for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        environment.setdefault(variable, threads)
    devices = _gpus()
    if len(devices) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    return Worker(number, environment)


def _gpus() -> list[str]:
    """Names of the CUDA devices that this process may use, found without starting CUDA."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number in range(len(list(folder.iterdir())))] if folder.is_dir() else []


def _end(workers: list[Worker]) -> None:
    """Asks every worker that runs to end, waits, and kills what is left; no process and no zombie remains."""
    deadline = time.monotonic() + GRACE_SECONDS
    for worker in workers:
        if worker.poll() is None:
            worker.ask_to_end()
    for worker in workers:
        try:
            worker.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait()
        worker.close()


def _end_of(code: int) -> str:
    """How a worker was lost, in words."""
    if code == EXIT_HUNG:
        return "hung"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
