"""A thread that notices when training stands still, leaves the stacks of all threads, and ends the process."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from pathlib import Path
from types import TracebackType

from mdaf.interruption import EXIT_HUNG, how_to_go_on

STACKS = "hang.txt"
MOST_SECONDS_A_LOOK = 1.0
SHOW_CURSOR = b"\r\x1b[2K\x1b[?25h"


class HangWatch:
    """Ends the process with ``EXIT_HUNG`` when no beat came for ``seconds``; None: never.

    What counts is the time that passed from look to look, each at most twice as long as it should be: neither a clock
    that jumps, nor a machine that slept, nor a process that was stopped and continued looks like one that hangs.
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
        """Something was done."""
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
        """Uses neither logging nor locks of this process: the thread that hangs may hold them."""
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
                os.write(2, SHOW_CURSOR)  # which the line of the epoch had hidden
            os.write(2, f"error: {text}".encode())
        finally:
            os._exit(EXIT_HUNG)
