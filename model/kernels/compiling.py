"""How long this process has compiled kernels for the CPU. The terminal shows it while a kernel is compiled."""

from __future__ import annotations

import contextlib
import time

from mdaf.terminal.progress import working


class Compilation:
    """Counts kernels and seconds. numba compiles one kernel at a time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._kernels, self._begun = 0, 0.0
        self._shown = contextlib.ExitStack()

    def begin(self) -> None:
        """A kernel is compiled from now on."""
        self._shown.close()  # compiling the last one may have failed
        self._kernels, self._begun = self._kernels + 1, time.monotonic()
        done = f": {self._kernels - 1} done" if self._kernels > 1 else ""
        self._shown.enter_context(working(f"compiling kernels for the CPU{done}", before=self.seconds))

    def end(self) -> None:
        """It is compiled."""
        self.seconds += time.monotonic() - self._begun
        self._shown.close()


compilation = Compilation()
