"""The watch over a training loop: the times of its steps against what they were, and what is done about it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch

from mdaf.conf.schema import Guard
from mdaf.errors import StoppedError
from mdaf.processes.interruption import EXIT_RESUMABLE, Interruption, SaveAndStop, how_to_go_on
from mdaf.sweeper.machine.hang_watch import HangWatch
from mdaf.sweeper.machine.telemetry import situation

log = logging.getLogger(__name__)


class TooSlowError(SaveAndStop, StoppedError):
    """The device became slow, and ``device.guard.action`` is stop."""

    exit_code = EXIT_RESUMABLE


class FallBack(SaveAndStop):
    """The device became slow, and ``device.guard.action`` is fallback_cpu."""


class SlowDownDetector:
    """Detects that steps take longer than those of the first full epoch.

    Times are measured on the host, which may run ahead of a GPU. So single steps mean nothing, and means are compared.
    The baseline cuts the first full epoch into 20 parts and takes the median of their means, which hides compilation
    and pauses. It is compared with the mean of the last ``patience`` seconds without their longest step, because a
    single pause is not a slow-down.
    """

    LEAST = 3  # a slow-down needs at least so many steps

    def __init__(self, factor: float, patience: float) -> None:
        self._factor, self._seconds = factor, patience
        self._first: list[float] = []
        self._last: deque[float] = deque()
        self._covered = 0.0
        self.baseline: float | None = None  # seconds a step

    def settle(self, least: float) -> None:
        """Ends the first full epoch. ``least``: what a step takes by the device's own clock, in seconds."""
        if self.baseline is None and self._first:
            chunks = torch.tensor(self._first).chunk(20)
            self.baseline = max(least, float(torch.stack([chunk.mean() for chunk in chunks]).median()))
        self._first = []

    def add(self, seconds: float, *, whole: bool) -> float | None:
        """Counts a step; the pace in seconds a step where it is a slow-down. ``whole``: its epoch is seen whole."""
        if self.baseline is None:
            if whole:
                self._first.append(seconds)
            return None
        self._last.append(seconds)
        self._covered += seconds
        while len(self._last) > self.LEAST and self._covered - self._last[0] >= self._seconds:
            self._covered -= self._last.popleft()
        if self._covered < self._seconds or len(self._last) < self.LEAST:
            return None
        pace = (self._covered - max(self._last)) / (len(self._last) - 1)
        return pace if pace > self._factor * self.baseline else None


class Watchdog:
    """The ``Watch`` of a run: it reacts to signals, slow steps and steps that hang.

    ``told`` is called with a record of each slow-down when it begins.
    """

    def __init__(
        self,
        interruption: Interruption,
        guard: Guard,
        hang: HangWatch,
        device: torch.device,
        told: Callable[[dict[str, Any]], None],
    ) -> None:
        self._interruption, self._guard, self._hang = interruption, guard, hang
        self._device, self._told = device, told
        self._detector = SlowDownDetector(guard.factor, guard.patience)
        self._slow = self._whole = False
        self._since = 0.0
        self._evaluation: float | None = None  # seconds, of the first full epoch

    def begin(self, epoch: int, step: int) -> None:
        self._whole = step == 0
        self._since = time.perf_counter()

    def step(self, epoch: int, step: int) -> None:
        now = time.perf_counter()
        pace = self._detector.add(now - self._since, whole=self._whole)
        self._since = now
        self._hang.beat()
        self._interruption.check()
        if pace is None and self._slow:
            log.info("steps are as fast as before again")
        before, self._slow = self._slow, pace is not None
        if pace is not None and not before:
            assert self._detector.baseline is not None
            self._act({"epoch": epoch, "step": step, "what": "steps", **_times(pace, self._detector.baseline)})

    def beat(self) -> None:
        self._hang.beat()
        self._interruption.check()

    def end(self, epoch: int, batch_ms: float | None) -> None:
        self._hang.beat()
        self._interruption.check()
        if self._whole:
            self._detector.settle((batch_ms or 0.0) / 1000)
        seconds = time.perf_counter() - self._since
        first, self._evaluation = self._evaluation, self._evaluation or seconds
        if first is not None and seconds > max(self._guard.patience, self._guard.factor * first):
            self._act({"epoch": epoch, "step": None, "what": "evaluation", **_times(seconds, first)})

    def _act(self, slow_down: dict[str, Any]) -> None:
        record = {**slow_down, "action": self._guard.action, **situation(self._device)}
        said = ", ".join(f"{name} {value}" for name, value in record.items() if name not in ("what", "action"))
        text = f"{record['what']} take {record['times']:.1f} times as long as in the first full epoch"
        log.warning("%s (device.guard.action=%s): %s", text, self._guard.action, said)
        self._told(record)
        if self._guard.action == "stop":
            raise TooSlowError(f"{text}, and device.guard.action=stop: the state is saved, {how_to_go_on()}")
        if self._guard.action == "fallback_cpu":
            raise FallBack(text)


def _times(seconds: float, before: float) -> dict[str, float]:
    return {"ms": round(1000 * seconds, 1), "ms_before": round(1000 * before, 1), "times": round(seconds / before, 2)}
