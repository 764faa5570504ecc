"""The commands of several points at once, each in a process with GPUs of its own, or two on one GPU.

Of a short process a third passes without the GPU: it imports, sets jobs up, and writes states. So one that has enough
memory for two trains two points at once, where there are fewer GPUs than points.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from omegaconf import DictConfig, OmegaConf

from mdaf.hardware import cores, gpus
from mdaf.processes.children import SECONDS_TO_SAVE, Child, end_all, pass_interruption_on

POLL_SECONDS = 0.1
ENOUGH_FOR_TWO = 20e9  # free bytes of a GPU with which two processes train on it at once
IN_THIS_MACHINE = (None, "auto", "replicas", "basic")  # launchers whose jobs compute where their command runs


@dataclass(frozen=True)
class Command:
    """What is run for a point, whose name stands before each line of what it says."""

    name: str
    words: Sequence[str]


def slots(points: int, config: DictConfig, launcher: str | None) -> list[list[str]]:
    """The names of the GPUs of each of so many points that can be trained at once; less than two where none can."""
    if launcher not in IN_THIS_MACHINE or config.device.name not in ("auto", "cuda"):
        return []
    names = gpus.chosen(OmegaConf.select(config, gpus.KEY))
    if len(names) < points and gpus.least_free_memory() >= ENOUGH_FOR_TWO:
        names = (names * 2)[:points]
    count = min(points, len(names))
    return [names[number::count] for number in range(count)]


def run(commands: Sequence[Command], given: Sequence[Sequence[str]]) -> None:
    """Runs all commands: as many at a time as there are slots, each with the GPUs of its slot.

    A command that fails leaves the others to run. Interrupted if one was, or this process is; then none of them runs.
    """
    waiting, running = list(commands), dict[int, _Running]()
    shared_by = max(Counter(name for names in given for name in names).values(), default=1)
    try:
        while waiting or running:
            for number, names in enumerate(given):
                if waiting and number not in running:
                    own = gpus.environment_of(names, shared_by) | cores.environment_of(len(given), number)
                    running[number] = _Running(waiting.pop(0), own)
            time.sleep(POLL_SECONDS)
            for number in [number for number, one in running.items() if one.process.poll() is not None]:
                pass_interruption_on(running.pop(number).ended())
    finally:
        end_all([one.process for one in running.values()], SECONDS_TO_SAVE)
        for one in running.values():
            one.ended()


class _Running:
    """The process of a command, and the thread that prints what it says."""

    def __init__(self, command: Command, environment: Mapping[str, str]) -> None:
        self.process = Child(
            command.words,
            {**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only this process, which then asks each to end
        )
        assert self.process.stdout is not None
        self._thread = threading.Thread(target=_print, args=(self.process.stdout, command.name), daemon=True)
        self._thread.start()

    def ended(self) -> int:
        """The exit code of a process that has ended, when all that it said is printed."""
        self._thread.join()
        self.process.let_go()
        return self.process.wait()


def _print(lines: IO[bytes], name: str) -> None:
    for line in lines:
        sys.stderr.write(f"{name}| {line.decode(errors='replace')}")
    lines.close()
