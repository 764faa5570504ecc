"""How many CPU threads a forward pass or a step takes, and how many parts of it are computed at once.

A thread that waits sleeps. To wake it for each of a thousand small operations costs more than it computes where these
are small. Where they are large, it still costs: threads that each compute a part of their own wake once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mdaf.model.layers.basic import Embedding

#: Multiplications of a forward pass from which on several threads are faster than one.
WORTH_THREADS = 500_000_000
#: Parts that are computed at once, at most. Python, which only one of them can use at a time, would be their limit.
MOST_WORKERS = 8


def weights_of_layers(model: nn.Module) -> int:
    """How many weights of one replica each position of a sequence is multiplied with, at most: not those of tables."""
    tables = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, Embedding | nn.Embedding | nn.EmbeddingBag)
        for parameter in module.parameters(recurse=False)
    }
    return sum(
        parameter[0].numel() for parameter in model.parameters() if parameter.dim() and id(parameter) not in tables
    )


def workers_for(multiplications: int, device: torch.device) -> int:
    """How many parts of so much work to compute at once: 1 on a GPU, with one thread, or if a part would be small."""
    if device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), MOST_WORKERS, multiplications // WORTH_THREADS))


@contextmanager
def threads_for(multiplications: int, device: torch.device) -> Iterator[None]:
    """Within this context torch and the kernels take one thread if a CPU has so little to compute.

    With 0 multiplications nothing is known of the work, as for trees: all threads stay.
    """
    threads = torch.get_num_threads()
    if not 0 < multiplications < WORTH_THREADS or threads == 1 or device.type != "cpu":
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
