"""Writing beside training: a thread that takes one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from mdaf.sweeper.runs.packing import replaced


class Background:
    """Runs what it is given in its thread, in order; what goes wrong there is raised at the next call."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Waits for what is under way, then begins ``work``: no more than one thing is kept in memory for it."""
        self.wait()
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._pending = self._pool.submit(work)

    def wait(self) -> None:
        """Returns when everything is done."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


class HostCopy:
    """A copy, on the CPU, of nested mappings, lists and tensors, made again and again in the same memory.

    What lies on CUDA goes to pinned memory, which takes a copy several times as fast but a while to get.
    """

    def __init__(self) -> None:
        self._rooms: list[Tensor] = []

    def of(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """A copy that training no longer changes; it ends the one before."""
        held, self._rooms = iter(self._rooms), []
        copied: dict[str, Any] = replaced(content, Tensor, lambda tensor: self._copied(tensor, next(held, None)))
        if torch.cuda.is_initialized():
            torch.cuda.current_stream().synchronize()
        return copied

    def _copied(self, value: Tensor, room: Tensor | None) -> Tensor:
        """``value`` in ``room``, where it fits, or in a new one."""
        if room is None or (room.shape, room.dtype) != (value.shape, value.dtype):
            room = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
        self._rooms.append(room)
        return room.copy_(value.detach(), non_blocking=value.is_cuda)
