"""A thread that detects when training hangs. It then writes the stacks of all threads and ends the process."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from pathlib import Path
from types import TracebackType

from mdaf.processes.interruption import EXIT_HUNG, how_to_go_on

STACKS = "hang.txt"
MOST_SECONDS_A_LOOK = 1.0
SHOW_CURSOR = b"\r\x1b[2K\x1b[?25h"


class HangWatch:
    """Ends the process with ``EXIT_HUNG`` when ``beat`` was not called for ``seconds``; None: never.

    The thread adds up the times between its checks, each limited to twice the interval. So a clock that jumps, a
    machine that slept or a process that was paused does not look like a hang.
    """

    def __init__(self, seconds: float | None, folder: Path) -> None:
        self._seconds = seconds
        self._folder = folder
        self._beats = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="hang", daemon=True)

    def __enter__(self) -> HangWatch:
        if self._seconds is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def beat(self) -> None:
        """Training made progress."""
        self._beats += 1

    def _look(self) -> None:
        assert self._seconds is not None
        every = min(MOST_SECONDS_A_LOOK, self._seconds / 10)
        seen, still, looked = self._beats, 0.0, time.monotonic()
        while not self._over.wait(every):
            now = time.monotonic()
            still = still + min(now - looked, 2 * every) if self._beats == seen else 0.0
            seen, looked = self._beats, now
            if still >= self._seconds:
                self._end(still)

    def _end(self, still: float) -> None:
        """Ends the process. Uses no logging and no locks: the thread that hangs may hold them."""
        text = (
            f"no batch for {still:.0f} s (device.guard.hang={self._seconds:g}): the stacks of all threads are in "
            f"{self._folder / STACKS}; exit code {EXIT_HUNG}; {how_to_go_on()}\n"
        )
        try:
            with (self._folder / STACKS).open("a") as file:
                faulthandler.dump_traceback(file)
            with (self._folder / "train.log").open("a") as log:
                log.write(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}][mdaf.sweeper.machine.hang_watch][ERROR] {text}")
            if os.isatty(2):
                os.write(2, SHOW_CURSOR)  # the progress line had hidden it
            os.write(2, f"error: {text}".encode())
        finally:
            os._exit(EXIT_HUNG)
