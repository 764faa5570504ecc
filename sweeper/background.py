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


def on_host(content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings, lists and tensors that training no longer changes, its tensors on the CPU.

    What lies on CUDA goes to pinned memory, several times as fast; PyTorch keeps that memory for the next copy.
    """
    copied: dict[str, Any] = _copied(content)
    if torch.cuda.is_initialized():
        torch.cuda.current_stream().synchronize()
    return copied


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        if not value.is_cuda:
            return value.detach().to("cpu", copy=True)
        pinned = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        return pinned.copy_(value.detach(), non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value
