"""Runs two branches of a model at the same time on a GPU, so that kernels of a small branch fill idle cores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mdaf.data.schema import Batch


def both(first: Callable[[Batch], Tensor], second: Callable[[Batch], Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
    """``first(batch)`` and ``second(batch)``, which share only the batch.

    While a CUDA graph captures a step, the first branch has a stream of its own, also for its backward pass, so the
    graph has two parallel branches. Without a graph the branches run one after the other, because a host that launches
    every kernel cannot keep two streams busy.
    """
    if not (batch.labels.is_cuda and torch.cuda.is_current_stream_capturing()):
        return first(batch), second(batch)
    here, side = torch.cuda.current_stream(), _side_stream(batch.labels.device)
    side.wait_stream(here)
    with torch.cuda.stream(side):
        one = first(batch)
    for tensor in (*batch.static.values(), *batch.sequence.values(), batch.lengths):
        tensor.record_stream(side)
    other = second(batch)
    here.wait_stream(side)
    one.record_stream(here)
    if one.requires_grad:  # autograd waits for gradients, but not for other tensors that a backward pass writes
        one.register_hook(lambda _: _after_backward(lambda: here.wait_stream(side)))
    return one, other


def _after_backward(action: Callable[[], None]) -> None:
    """Calls ``action`` at the end of the current backward pass."""
    torch.autograd.Variable._execution_engine.queue_callback(action)


@functools.lru_cache
def _side_stream(device: torch.device) -> Any:
    """The stream of the first branch. Always the same, so that graphs of one pool share memory."""
    return torch.cuda.Stream(device)
