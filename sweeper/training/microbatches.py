"""How a batch is cut into the micro-batches that a CPU computes one after the other.

The cost of a micro-batch has a constant part (Python asks for about a thousand operations) and a part for each position
that it computes, padding included. Few micro-batches compute more padding where history lengths differ; many
micro-batches spend more time on calls. If a micro-batch is so large that a layer's tensor does not fit into the cache,
it waits for memory. Both are measured at a model whose widest tensors have 512 channels for each event. A position of
a model with fewer of them counts as so much less.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: The channels of each event to which the two numbers below belong.
CHANNELS = 512
#: The most positions of a micro-batch on a CPU: rows times the longest history, plus one for the candidate. A layer's
#: tensor of 512 channels then takes 32 MB. Half and twice this number are equally fast within a few percent.
POSITIONS = 16384
#: The constant cost of a micro-batch, in positions.
CALLS = 256
#: Rows are cut in multiples of this number.
BLOCK = 64


def position_weight(model: nn.Module, replicas: int) -> float:
    """How many positions one position of so many replicas of ``model`` counts as."""
    return replicas * getattr(model, "event_channels", CHANNELS) / CHANNELS


def micro_batch_sizes(longest: Sequence[int], weight: float, positions: int) -> list[int]:
    """The number of rows of each micro-batch; the batch is sorted by length.

    ``longest`` is the longest history of each row over all replicas, (row,), ascending. ``weight`` is what a position
    counts as, as ``position_weight`` says it. Returns the cheapest cut in
    which no micro-batch computes more than ``positions``, unless a single block of rows already does.
    """
    rows = len(longest)
    ends = [min(block + BLOCK, rows) for block in range(0, rows, BLOCK)]
    cheapest, cut = [0.0], [0]  # entry n: the cost of the first n blocks, and where the last micro-batch begins
    for last, end in enumerate(ends):
        width = weight * (1 + longest[end - 1])
        cost, begin = None, last
        for first in range(last, -1, -1):
            computed = (end - first * BLOCK) * width
            if computed > positions and first < last:
                break
            if cost is None or cheapest[first] + CALLS + computed < cost:
                cost, begin = cheapest[first] + CALLS + computed, first
        assert cost is not None
        cheapest.append(cost)
        cut.append(begin)
    sizes = []
    last = len(ends)
    while last:
        sizes.append((ends[last - 1]) - cut[last] * BLOCK)
        last = cut[last]
    return sizes[::-1]


def forward_pass_sizes(lengths: Tensor, most: int, positions: int | None, weight: float) -> list[int]:
    """The number of rows of each forward pass in evaluation: at most ``most``.

    ``lengths`` (replica, row) is ascending. Every ``most`` rows are cut like a batch in training; with ``positions``
    None they are not cut. ``weight`` is what a position counts as.
    """
    rows = lengths.shape[1]
    begins = range(0, rows, most)
    if positions is None:
        return [min(most, rows - begin) for begin in begins]
    longest = lengths.amax(dim=0).tolist()
    return [size for begin in begins for size in micro_batch_sizes(longest[begin : begin + most], weight, positions)]


def default_positions(device: torch.device) -> int | None:
    """The most positions of a forward pass that suit the device; None: the whole batch at once.

    On a CPU a layer's output should stay in the cache; a GPU needs as much parallelism as possible.
    """
    return POSITIONS if device.type == "cpu" else None
