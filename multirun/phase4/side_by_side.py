"""The commands of several points at once, each in a process with GPUs of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from omegaconf import DictConfig, OmegaConf

from mdaf import gpus
from mdaf.children import Child
from mdaf.signals import EXIT_AT_ONCE, EXIT_RESUMABLE, Interrupted

POLL_SECONDS = 0.1
GRACE_SECONDS = 30.0  # from Ctrl-C to SIGKILL: time to save
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
    count = min(points, len(names))
    return [names[number::count] for number in range(count)]


def run(commands: Sequence[Command], given: Sequence[Sequence[str]]) -> None:
    """Runs all commands: as many at a time as there are slots, each with the GPUs of its slot.

    A command that fails leaves the others to run. Interrupted if one was, or this process is; then none of them runs.
    """
    waiting, running = list(commands), dict[int, _Running]()
    try:
        while waiting or running:
            for number, names in enumerate(given):
                if waiting and number not in running:
                    running[number] = _Running(waiting.pop(0), names)
            time.sleep(POLL_SECONDS)
            for number in [number for number, one in running.items() if one.process.poll() is not None]:
                code = running.pop(number).ended()
                if code == EXIT_RESUMABLE:
                    raise Interrupted("as its run was")
                if code in (EXIT_AT_ONCE, -signal.SIGINT):
                    raise KeyboardInterrupt
    finally:
        _end(list(running.values()))


class _Running:
    """The process of a command, and the thread that prints what it says."""

    def __init__(self, command: Command, names: Sequence[str]) -> None:
        self.process = Child(
            command.words,
            {**os.environ, **gpus.environment_of(names)},
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


def _end(running: Sequence[_Running]) -> None:
    """Asks all processes to save and to leave, at once, and waits for that; impatience kills them."""
    for one in running:
        one.process.let_go()
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        for one in running:
            with suppress(subprocess.TimeoutExpired):
                one.process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for one in running:
            if one.process.poll() is None:
                one.process.kill()
            one.ended()
