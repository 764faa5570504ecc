"""Writing beside training: a thread that takes one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor


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

    What lies on CUDA goes to pinned memory, which takes a copy several times as fast but a second a gigabyte to get.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], Tensor] = {}

    def of(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """A copy that training no longer changes; it ends the one before."""
        held, self._kept = self._kept, {}
        values: list[Tensor] = []
        copied: dict[str, Any] = self._copied(content, (), held, values)
        on_gpu = torch.cuda.is_initialized()
        if values:  # in one call: after each one of its own it would wait for the threads that write
            torch._foreach_copy_(list(self._kept.values()), values, non_blocking=on_gpu)
        if on_gpu:
            torch.cuda.current_stream().synchronize()
        return copied

    def _copied(
        self, value: Any, path: tuple[Any, ...], held: Mapping[tuple[Any, ...], Tensor], values: list[Tensor]
    ) -> Any:
        """``value`` with room in the place of each tensor, which is added to ``values``."""
        if isinstance(value, Tensor):
            room = held.get(path)
            if room is None or (room.shape, room.dtype) != (value.shape, value.dtype):
                room = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
            self._kept[path] = room
            values.append(value.detach())
            return room
        if isinstance(value, Mapping):
            return {key: self._copied(part, (*path, key), held, values) for key, part in value.items()}
        if isinstance(value, list):
            return [self._copied(part, (*path, place), held, values) for place, part in enumerate(value)]
        return value
