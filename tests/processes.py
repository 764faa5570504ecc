"""Processes that run a module as ``python -m`` does, forked from one that has imported already what takes seconds.

A module is run as ``__main__``, in a process, a directory and an environment of its own, and its output and exit code
are its own. What is not tested so is how long it takes to import, and that it imports at all without the others.

Its output goes to files, as into a pipe, or to a pseudo-terminal of so many columns, on which Ctrl-C can be typed.
"""

from __future__ import annotations

import fcntl
import gc
import multiprocessing
import os
import pty
import runpy
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Nothing of these starts a thread when it is imported, which a fork would lose.
IMPORTED = ("mdaf", "pytest", "torch._dynamo", "optuna", "sqlalchemy", "scipy.stats", "hydra._internal.hydra")
IMPORTED += (
    "rich.logging",
    "typer",
    "plotly.graph_objects",
    "mdaf.sweeper.job.run",
    "mdaf.sweeper.search.sweep",
    "mdaf.sweeper.study.cli",
)
IMPORTED += ("mdaf.multirun.launching.lockstep", "tests.processes", "tests.sweeper.inside", "tests.compilers")


def _server() -> ForkServerContext:
    """A process has one server of forks, whatever is imported by it: what is named last counts."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


CONTEXT = _server()


class Terminal:
    """A pseudo-terminal of so many columns: what was shown on it, and a keyboard."""

    def __init__(self, columns: int, rows: int = 24) -> None:
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.name = os.ttyname(self._slave)
        self._shown = bytearray()
        self._open = True
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def type(self, keys: str) -> None:
        """Presses keys; ``\\x03`` is Ctrl-C."""
        os.write(self._master, keys.encode())

    def shown(self) -> str:
        """Everything that was written so far, control sequences and all."""
        return self._shown.decode(errors="replace")

    def hang_up(self) -> None:
        """Closes the terminal, as a connection that breaks does."""
        self._open = False
        self._thread.join()  # a terminal that is being read stays open
        os.close(self._slave)
        os.close(self._master)

    def close(self) -> None:
        """When nobody writes any more: reads what is left."""
        if self._open:
            os.close(self._slave)
            self._thread.join(10)  # the last writer is gone, so reading has an end
            os.close(self._master)
            self._open = False

    def _read(self) -> None:
        while self._open:
            if not select.select([self._master], [], [], 0.1)[0]:
                continue
            try:
                read = os.read(self._master, 65536)
            except OSError:
                return
            if not read:
                return
            self._shown += read


class Running:
    """A module that runs; ``module`` and ``arguments`` follow ``python -m``, or ``module`` is a script, as ``app.py``.

    ``terminal``     the columns of a pseudo-terminal; None: input is empty, and output goes to files.
    ``environment``  beyond this process's own.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        cwd: Path,
        terminal: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.command = _command(module, arguments)
        self._folder = tempfile.TemporaryDirectory()
        self.terminal = Terminal(terminal) if terminal is not None else None
        whole = os.environ | {"PYTHONPATH": str(ROOT)}
        if self.terminal is None:
            whole["COLUMNS"], said = "120", self._folder.name
        else:
            whole["TERM"], said = "xterm-256color", self.terminal.name
            whole.pop("COLUMNS", None)
        whole |= environment or {}
        self._process = CONTEXT.Process(target=_become, args=(module, arguments, str(cwd), whole, said))
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
        """Waits for its end: its exit code, and what it said; on a terminal both kinds of output are one."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise subprocess.TimeoutExpired(self.command, timeout, *self._said())
        if self.terminal is not None:
            self.terminal.close()
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

    def wait_until_shown(self, text: str, timeout: float = 60) -> None:
        """Waits until the terminal has shown a text."""
        assert self.terminal is not None
        deadline = time.monotonic() + timeout
        while text not in self.terminal.shown():
            assert self.poll() is None, self._said()
            assert time.monotonic() < deadline, self._said()
            time.sleep(0.02)

    def _said(self) -> tuple[str, str]:
        if self.terminal is not None:
            return self.terminal.shown(), ""
        out, err = ((Path(self._folder.name) / name).read_text() for name in ("out", "err"))
        return out, err


def _become(module: str, arguments: tuple[str, ...], cwd: str, environment: dict[str, str], said: str) -> None:
    """In the forked process: everything that ``python -m module arguments``, or ``python app.py``, would find.

    ``said`` is where it speaks: a folder for two files, or a terminal, which becomes the process's own.
    """
    gc.freeze()  # what the server imported stays
    if Path(said).is_dir():
        descriptors = {name: os.open(Path(said) / name, os.O_WRONLY | os.O_CREAT) for name in ("out", "err")}
        os.dup2(descriptors["out"], 1)
        os.dup2(descriptors["err"], 2)
    else:
        os.setsid()
        terminal = os.open(said, os.O_RDWR)
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        for descriptor in (0, 1, 2):
            os.dup2(terminal, descriptor)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - multiprocessing took it away
        for name in ("stdout", "stderr"):  # they found out what they write to when the server began
            getattr(sys, name).reconfigure(line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background ignore it
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    sys.orig_argv = list(_command(module, arguments))  # which a sweep starts its workers with
    sys.path[:0] = [folder for folder in environment["PYTHONPATH"].split(os.pathsep) if folder not in sys.path]
    if _is_script(module):
        sys.path.insert(0, str(Path(module).resolve().parent))
        runpy.run_path(module, run_name="__main__")
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _command(module: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    return (sys.executable, *(() if _is_script(module) else ("-m",)), module, *arguments)


def _is_script(module: str) -> bool:
    return module.endswith(".py") or "/" in module
