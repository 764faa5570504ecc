"""Child processes that leave when their parent ends, however it ends.

The parent of a ``Child`` holds the other end of the child's standard input and never writes to it. The system closes it
when the parent dies, also by kill -9; the parent closes it to ask the child to leave. The child treats either like a
signal: it saves its state and leaves. Processes of multiprocessing and joblib watch their parents in other ways.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from mdaf.processes import signals

PIPE_VARIABLE = "MDAF_PARENT_PIPE"  # the identity of the pipe at standard input whose other end the parent holds

SAFE_PATH = "PYTHONSAFEPATH"
SAFE_PATH_IS_OURS = "MDAF_SAFE_PATH"  # no choice of the user's

STDIN = 0
POLL_SECONDS = 0.5
SECONDS_TO_SAVE = 30.0  # from asking a process to leave to SIGKILL
GRACE_SECONDS = 5.0  # a process without a parent ends so long after it has saved

_watching = False
_parent: int | None = None  # the id of the process that holds the other end of standard input


class Child(subprocess.Popen[bytes]):
    """A process on this machine that leaves when this process ends."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any) -> None:
        read, self._held = os.pipe()
        whole = {**(os.environ if environment is None else environment), PIPE_VARIABLE: str(_name_of(read))}
        try:
            super().__init__(command, stdin=read, env=whole, **options)
        except BaseException:
            os.close(self._held)
            raise
        finally:
            os.close(read)

    def end(self, grace: float) -> None:
        """Asks the child to leave, unless it has, and waits ``grace`` seconds for that; impatience kills it."""
        self.let_go()
        try:
            self.wait(grace)
        except BaseException as error:
            self.kill()
            self.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise

    def let_go(self) -> None:
        """Asks the child to leave, and closes the pipe. Idempotent."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def end_all(children: Sequence[Child], grace: float) -> None:
    """Asks all children to leave, at once, and waits ``grace`` seconds in all for that; impatience kills them.

    Each child has a session of its own, which is killed with it. However this is left, none of them runs any more.
    """
    for child in children:
        child.let_go()
    deadline = time.monotonic() + grace
    try:
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for child in children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def pass_interruption_on(code: int) -> None:
    """Interrupts this process, with an exception, if a child's exit code says that somebody interrupted the child."""
    if code == signals.EXIT_RESUMABLE:
        raise signals.Interrupted("as its run was")
    if code in (signals.EXIT_AT_ONCE, -signal.SIGINT):
        raise KeyboardInterrupt


def import_alike() -> None:
    """Makes child processes of a console script, also a launcher's, import modules from where the script does.

    ``python -m``, which starts them, looks in the working directory first; a console script does not. A user's file
    there with the name of one of our modules must not be imported instead of it.
    """
    if not os.environ.get(SAFE_PATH) and not any(
        not entry or os.path.abspath(entry) == os.getcwd() for entry in sys.path[:1]
    ):
        os.environ |= {SAFE_PATH: "1", SAFE_PATH_IS_OURS: "1"}


def follow_parent() -> None:
    """Makes this process leave when its parent ends, if the parent is a process of this program. Idempotent."""
    global _watching, _parent
    if _watching:
        return
    parent = multiprocessing.parent_process()
    told = os.environ.get(PIPE_VARIABLE)  # a process in between may have passed it on, with another input
    if told is not None and told == _name_of(STDIN):
        signals.leave_once()  # the parent, which hears of impatience, ends it
        _parent = os.getppid()
        watch: tuple[Any, ...] = (_until_it_closes,)
    elif parent is not None:
        watch = (_until_it_is_gone, parent)
    else:
        return
    _watching = True
    threading.Thread(target=watch[0], args=watch[1:], name="parent", daemon=True).start()


def is_spoken_for() -> bool:
    """Whether the parent is a process of this program and alive: then it tells the user why everything ends."""
    return _parent is not None and _parent == os.getppid()


def _until_it_closes() -> None:
    while os.read(STDIN, 1):  # returns when the other end is closed
        pass
    signals.hang_up()


def _until_it_is_gone(parent: BaseProcess) -> None:
    sentinel = getattr(parent, "_sentinel", None)
    if sentinel is not None:
        wait([sentinel])
    else:  # joblib's processes have none, but are direct children of their parent
        while os.getppid() == parent.pid:
            time.sleep(POLL_SECONDS)
    signals.hang_up(once=True)
    while signals.is_deferred():
        time.sleep(POLL_SECONDS)
    time.sleep(GRACE_SECONDS)
    os._exit(signals.EXIT_RESUMABLE)  # otherwise it would wait for a next job


def _name_of(descriptor: int) -> str | None:
    """The identity of the pipe at a descriptor; None if it is not a pipe."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return f"{found.st_dev}:{found.st_ino}" if stat.S_ISFIFO(found.st_mode) else None
