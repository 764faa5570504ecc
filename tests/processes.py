"""Processes that run a module as ``python -m`` does, forked from one that has imported already what takes seconds.

A module is run as ``__main__``, in a process, a directory and an environment of its own, and its output and exit code
are its own. What is not tested so is how long it takes to import, and that it imports at all without the others.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Nothing of these starts a thread when it is imported, which a fork would lose.
IMPORTED = ("sweeper", "pytest", "torch._dynamo", "optuna", "sqlalchemy", "scipy.stats", "hydra._internal.hydra")
IMPORTED += ("rich.logging", "typer", "plotly.graph_objects", "sweeper.objective", "sweeper._search", "sweeper.study")
IMPORTED += ("multirun.lockstep", "tests.processes")


def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


CONTEXT = _server()


class Running:
    """A module that runs; ``module`` and ``arguments`` as they follow ``python -m``."""

    def __init__(self, module: str, *arguments: str, cwd: Path) -> None:
        self.command = (sys.executable, "-m", module, *arguments)
        self._folder = tempfile.TemporaryDirectory()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
        self._process = CONTEXT.Process(
            target=_become, args=(module, arguments, str(cwd), environment, self._folder.name)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        os.kill(self.pid, signal.SIGINT)

    def wait(self, timeout: float = 280) -> subprocess.CompletedProcess[str]:
        """Waits for its end: its exit code, and what it said."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise subprocess.TimeoutExpired(self.command, timeout, *self._said())
        out, err = self._said()
        self._folder.cleanup()
        return subprocess.CompletedProcess(self.command, self._process.exitcode, out, err)

    def wait_until(self, file: Path, timeout: float = 60) -> None:
        """Waits until the running program has left a file."""
        deadline = time.monotonic() + timeout
        while not file.exists():
            assert self.poll() is None, self._said()
            assert time.monotonic() < deadline, self._said()
            time.sleep(0.02)

    def _said(self) -> tuple[str, str]:
        out, err = ((Path(self._folder.name) / name).read_text() for name in ("out", "err"))
        return out, err


def _become(module: str, arguments: tuple[str, ...], cwd: str, environment: dict[str, str], said: str) -> None:
    """In the forked process: everything that ``python -m module arguments`` would find."""
    for name, descriptor in (("out", 1), ("err", 2)):
        with (Path(said) / name).open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background ignore it
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    sys.orig_argv = [sys.executable, "-m", module, *arguments]  # which a sweep starts its workers with
    runpy.run_module(module, run_name="__main__", alter_sys=True)
