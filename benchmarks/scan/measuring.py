"""Time and memory of one call, in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read by PyTorch at its first allocation: large pages for large tensors. With small ones a fresh tensor of 100 MB costs
# more in page faults than the kernel that fills it. An existing setting stays.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import torch
from torch import Tensor

from benchmarks.scan.calls import LIBRARY, Shape, call_of, library_call
from mdaf.sweeper.machine.telemetry import peak_resident_bytes

#: Replays of a CUDA graph between two looks at the clock.
REPLAYS = 10


@dataclass(frozen=True)
class Figures:
    """Seconds (the least of the repeats) and bytes above the inputs."""

    forward: float
    backward: float
    memory: float

    @property
    def total(self) -> float:
        return self.forward + self.backward


def in_its_own_process(operation: str, backend: str, shape: Shape) -> Figures | str:
    """The figures, or why there are none. Its own process, so that peak memory is the backend's alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (operation, backend, shape))


def _measure(operation: str, backend: str, shape: Shape) -> Figures | str:
    try:
        call, leaves = library_call(shape) if backend == LIBRARY else call_of(operation, backend, shape)
        call().sum().backward()
    except (ValueError, ImportError) as error:
        return str(error)
    dy = torch.ones_like(leaves[0])

    def both() -> tuple[Tensor, ...]:
        return torch.autograd.grad(call(), leaves, dy)

    before = _reset_peak_memory(leaves, shape.device)
    both()
    memory = _peak_memory(shape.device) - before
    once = _replayed if shape.device == "cuda" else _clocked
    forward, both_passes = once(call, shape.repeats), once(both, shape.repeats)
    return Figures(forward, both_passes - forward, memory)


def _clocked(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of a call, the least of the repeats."""
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        kept = call()
        took.append(time.perf_counter() - started)
        del kept
    return min(took)


def _replayed(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of a call in a CUDA graph, as training runs it: what Python takes to launch kernels does not count."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()
    took = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(REPLAYS):
            graph.replay()
        torch.cuda.synchronize()
        took.append((time.perf_counter() - started) / REPLAYS)
    del kept
    return min(took)


def _clear(leaves: list[Tensor]) -> None:
    for leaf in leaves:
        leaf.grad = None


def _reset_peak_memory(leaves: list[Tensor], device: str) -> float:
    """Starts a new peak with the inputs alone in memory; the bytes that they and the process take."""
    _clear(leaves)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):  # Linux only; elsewhere the peak is that of the whole process
            Path("/proc/self/clear_refs").write_text("5")
    return _peak_memory(device)


def _peak_memory(device: str) -> float:
    """Bytes: on CUDA the allocator's peak, on a CPU the process's peak resident memory."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return 1024.0 * int(status.split("VmHWM:")[1].split()[0])
    return peak_resident_bytes()
