"""Processes that leave when the one that started them does, however it ends.

Who starts a ``Child`` holds the other end of its standard input. Nothing is ever written there: the system closes it
when the parent is gone, kill -9 included, and the parent closes it to ask the child to leave. Either is to the child as
a signal: it saves, and leaves. Processes that multiprocessing or joblib started are watched for the same, each in the
way that it allows.
"""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from mdaf import signals

PIPE_VARIABLE = "MDAF_PARENT_PIPE"  # the pipe that standard input is, where its other end is held by the parent

STDIN = 0
POLL_SECONDS = 0.5
GRACE_SECONDS = 5.0  # in which a process that nobody waits for ends, once it has saved

_following = False
_parent: int | None = None  # the process that holds the other end of standard input


class Child(subprocess.Popen[bytes]):
    """A process of this machine that leaves when this one does."""

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

    def let_go(self) -> None:
        """Asks it to leave, or, of one that is over, gives back what it took. Idempotent."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def import_alike() -> None:
    """From now on the processes that a console script starts, a launcher's too, import modules from where it does.

    ``python -m``, which starts them, looks in the working directory first, a console script never does. A user's file
    there that is called as one of our packages is, such as ``data.py``, must not run in their place.
    """
    if not any(not place or os.path.abspath(place) == os.getcwd() for place in sys.path[:1]):
        os.environ["PYTHONSAFEPATH"] = "1"


def follow_parent() -> None:
    """From now on this process leaves when the one that started it does, if that is one of ours. Idempotent."""
    global _following, _parent
    if _following:
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
    _following = True
    threading.Thread(target=watch[0], args=watch[1:], name="parent", daemon=True).start()


def is_spoken_for() -> bool:
    """Whether the process that started this one is one of ours and still there: it says why all of it ends."""
    return _parent is not None and _parent == os.getppid()


def _until_it_closes() -> None:
    while os.read(STDIN, 1):  # nobody writes: it returns when the other end is closed
        pass
    signals.hang_up()


def _until_it_is_gone(parent: BaseProcess) -> None:
    sentinel = getattr(parent, "_sentinel", None)
    if sentinel is not None:
        wait([sentinel])
    else:  # joblib's processes get none, but are their parent's own children
        while os.getppid() == parent.pid:
            time.sleep(POLL_SECONDS)
    signals.hang_up(once=True)
    while signals.is_deferred():
        time.sleep(POLL_SECONDS)
    time.sleep(GRACE_SECONDS)
    os._exit(signals.EXIT_RESUMABLE)  # it would wait for the next job, which nobody sends


def _name_of(descriptor: int) -> str | None:
    """The pipe that a descriptor is an end of; None if it is none."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return f"{found.st_dev}:{found.st_ino}" if stat.S_ISFIFO(found.st_mode) else None
