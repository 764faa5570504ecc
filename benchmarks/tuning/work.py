"""The work of all processes that have a mark in their environment, whoever started them."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

LOOK_SECONDS = 0.05


class Work:
    """Looks at the processes that have a mark in their environment, and at how long each has worked."""

    def __init__(self, mark: str) -> None:
        self._mark, self._found, self._strange = f"{mark}\0".encode(), dict[tuple[str, str], int](), set[str]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def seconds(self) -> float:
        """What they all worked until now, in seconds of the processor. Nobody looks at them any more."""
        self._over.set()
        self._thread.join()
        return sum(self._found.values()) / os.sysconf("SC_CLK_TCK")

    def _look_on(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            for process in filter(str.isdecimal, os.listdir("/proc")):
                if process not in self._strange:
                    with suppress(OSError):  # it has ended
                        self._look_at(process)

    def _look_at(self, process: str) -> None:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        user, system, began = int(fields[11]), int(fields[12]), fields[19]
        if (process, began) in self._found or self._mark in Path(f"/proc/{process}/environ").read_bytes():
            self._found[process, began] = user + system
        elif time.time() - os.stat(f"/proc/{process}").st_mtime > 1:  # a young one has its parent's environment
            self._strange.add(process)
