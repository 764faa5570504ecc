"""Writes checkpoints in a background thread while training goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from mdaf.sweeper.runs.packing import replaced


class Background:
    """Runs functions in its thread, one after the other. The next call raises what a function raised."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Waits for the previous function, then starts ``work``, so that only one copy of a state is in memory."""
        self.wait()
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._pending = self._pool.submit(work)

    def wait(self) -> None:
        """Waits until everything is done."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


#: The share of a GPU's memory that stays free while states wait there for being copied.
STAYS_FREE = 0.15


class HostCopy:
    """Copies nested mappings, lists and tensors to the CPU, always into the same memory.

    It is not pinned: that makes copying faster, but to allocate it takes longer than several copies.
    """

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []

    def of(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of ``content``. It overwrites the previous copy."""
        held, self._buffers = iter(self._buffers), []
        copied: dict[str, Any] = replaced(content, Tensor, lambda tensor: self._copied(tensor, next(held, None)))
        return copied

    def begun(self, content: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
        """``of``, to be called once, by any thread. Until then training may change all of ``content`` but its tensors.

        The copy is made at once if they have no room on the GPU until then.
        """
        tensors: list[Tensor] = []

        def noted(tensor: Tensor) -> Tensor:
            tensors.append(tensor)
            return tensor

        frozen = replaced(content, Tensor, noted)
        gpu = next((tensor.device for tensor in tensors if tensor.is_cuda), None)
        if gpu is None or not _has_room(gpu):
            copied = self.of(content)
            return lambda: copied
        computed = torch.cuda.Event()
        computed.record()

        def complete() -> dict[str, Any]:
            beside = torch.cuda.Stream(gpu)  # steps that are launched meanwhile do not wait for the copy
            beside.wait_event(computed)
            with torch.cuda.stream(beside):
                copied = self.of(frozen)
            frozen.clear()  # the GPU's memory is free while the copy is written
            return copied

        return complete

    def _copied(self, value: Tensor, buffer: Tensor | None) -> Tensor:
        """A copy of ``value`` in ``buffer``, or in a new buffer if that has another shape or type."""
        if buffer is None or (buffer.shape, buffer.dtype) != (value.shape, value.dtype):
            buffer = torch.empty(value.shape, dtype=value.dtype)
        self._buffers.append(buffer)
        return buffer.copy_(value.detach())


def _has_room(gpu: torch.device) -> bool:
    free, whole = torch.cuda.mem_get_info(gpu)
    return free > STAYS_FREE * whole
