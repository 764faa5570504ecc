"""Two branches of a model at once on a GPU: kernels of a small one run in the gaps that those of the other leave."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mdaf.data.schema import Batch


def both(first: Callable[[Batch], Tensor], second: Callable[[Batch], Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
    """``first(batch)`` and ``second(batch)``, which share nothing but the batch.

    While a step is captured in a CUDA graph the first has a stream of its own, where its backward pass runs too: the
    graph then has two branches. Elsewhere one follows the other, since a host that launches every kernel by itself
    cannot keep two streams busy.
    """
    if not (batch.labels.is_cuda and torch.cuda.is_current_stream_capturing()):
        return first(batch), second(batch)
    here, aside = torch.cuda.current_stream(), _stream_aside(batch.labels.device)
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        one = first(batch)
    for tensor in (*batch.static.values(), *batch.sequence.values(), batch.lengths):
        tensor.record_stream(aside)
    other = second(batch)
    here.wait_stream(aside)
    one.record_stream(here)
    if one.requires_grad:  # autograd itself waits for gradients, not for what else a backward pass writes
        one.register_hook(lambda _: _after_backward(lambda: here.wait_stream(aside)))
    return one, other


def _after_backward(action: Callable[[], None]) -> None:
    """Has ``action`` called at the end of the backward pass under way."""
    torch.autograd.Variable._execution_engine.queue_callback(action)


@functools.lru_cache
def _stream_aside(device: torch.device) -> Any:
    """The same for every capture, so that graphs of one pool share the memory of their side branches."""
    return torch.cuda.Stream(device)
