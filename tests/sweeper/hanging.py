"""``python -m sweeper`` whose first job to come to its second epoch stands still there; no later one does."""

from __future__ import annotations

import time
from pathlib import Path

from mdaf.sweeper.__main__ import main
from mdaf.sweeper.machine.watchdog import Watchdog

HUNG = Path("hung")  # left in the working directory by the job that stands still


def hang_once() -> None:
    step_of = Watchdog.step

    def step(self: Watchdog, epoch: int, step: int) -> None:
        step_of(self, epoch, step)
        if (epoch, step) == (2, 4) and not HUNG.exists():
            HUNG.touch()
            while True:
                time.sleep(60)

    Watchdog.step = step  # type: ignore[method-assign]


if __name__ == "__main__":
    hang_once()
    main()
