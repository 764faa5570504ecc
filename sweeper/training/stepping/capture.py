"""Captures what a function launches on a GPU in a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Captured(NamedTuple):
    """A graph, and the tensors that its replays write: ``loss`` (replica,) and ``logits`` (replica, batch)."""

    graph: Any
    loss: Tensor
    logits: Tensor


def capture(step: Callable[[], tuple[Tensor, Tensor]], pool: Any) -> Captured:
    """Captures ``step`` in a graph with the memory of ``pool``; None: with memory of its own. Nothing is computed.

    RuntimeError if that fails: the first error, which that of the broken capture would hide.
    """
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):  # other threads copy states
            loss, logits = step()
    except RuntimeError as error:
        torch.cuda.set_stream(before)  # a capture that cannot be ended leaves its own
        first = error.__context__ if isinstance(error.__context__, RuntimeError) else error
        raise first from None
    return Captured(graph, loss, logits)
