"""Times of training steps, measured without making the device wait."""

from __future__ import annotations

import time
from types import TracebackType

import torch

from sweeper.interruption import Interruption


class StepClock:
    """A context manager around each step; afterwards, quantiles of the step times.

    On CUDA a step is timed by events on the stream, so that the host may run ahead; elsewhere by the wall clock.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds: list[float] = []
        self._begun = 0.0

    def __enter__(self) -> None:
        if self._cuda:
            self._marks.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
            self._marks[-1][0].record()
        else:
            self._begun = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._cuda:
            self._marks[-1][1].record()
        else:
            self._seconds.append(time.perf_counter() - self._begun)

    def milliseconds(self, quantile: float) -> float | None:
        """The given quantile of the step times so far; None if there are none."""
        if not (self._marks or self._seconds):
            return None
        if self._cuda:
            torch.cuda.synchronize()
            times = torch.tensor([start.elapsed_time(end) for start, end in self._marks])
        else:
            times = torch.tensor(self._seconds) * 1000
        return float(times.quantile(quantile))


class Lookout:
    """The ``training.Watch`` of a run."""

    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption

    def begin(self, epoch: int, steps: int) -> None: ...

    def step(self, epoch: int, step: int) -> None:
        self._interruption.check()

    def beat(self) -> None:
        self._interruption.check()

    def end(self, epoch: int) -> None:
        self._interruption.check()
