"""Measures the times of training steps without synchronizing with the device at each step."""

from __future__ import annotations

import time
from types import TracebackType

import torch

#: How many steps the host may be ahead of a GPU: enough that the GPU never waits, few enough to stop or save soon.
AHEAD = 4


class StepClock:
    """A context manager around each step; afterwards, quantiles of the step times.

    On CUDA, events on the stream time a step, so that the host may be ``AHEAD`` steps ahead; elsewhere the wall clock
    does.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds: list[float] = []
        self._begun = 0.0

    def __enter__(self) -> None:
        if self._cuda:
            if len(self._marks) >= AHEAD:
                self._marks[-AHEAD][1].synchronize()
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
        """A quantile of the step times so far; None if there are none."""
        if not (self._marks or self._seconds):
            return None
        if self._cuda:
            torch.cuda.synchronize()
            times = torch.tensor([start.elapsed_time(end) for start, end in self._marks])
        else:
            times = torch.tensor(self._seconds) * 1000
        return float(times.quantile(quantile))
