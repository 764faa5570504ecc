"""How a batch is cut into the pieces that a CPU computes one after the other.

A piece has a cost of its own (a thousand operations that Python asks for) and one for each position that it computes,
padding included. Few pieces waste padding where histories differ, many pieces waste calls; and a piece so large that a
layer's tensor leaves the cache waits for memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Positions (rows times the longest history, the candidate with it) of a piece on a CPU: a layer's tensor of 512
#: channels then takes 32 MB. Half as many and twice as many take as long within a few percent.
POSITIONS = 16384
#: What a piece costs besides, in positions.
CALLS = 256
#: Rows that are never cut apart.
BLOCK = 64


def piece_sizes(longest: Sequence[int], replicas: int, positions: int) -> list[int]:
    """Rows of each piece of a batch sorted by length; ``longest`` (row,) over all replicas, ascending.

    The cheapest way to cut it of those in which no piece computes more than ``positions``, unless one block of rows
    does.
    """
    rows = len(longest)
    ends = [min(block + BLOCK, rows) for block in range(0, rows, BLOCK)]
    cheapest, cut = [0], [0]  # of the first so many blocks: the cost, and where the last piece begins
    for last, end in enumerate(ends):
        width = replicas * (1 + longest[end - 1])
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


def passes(lengths: Tensor, most: int, positions: int | None) -> list[int]:
    """Rows of each forward pass that trains nothing, over ``lengths`` (replica, row), ascending: at most ``most``.

    Pieces as those of a batch, or ``most`` at a time where ``positions`` is None.
    """
    replicas, rows = lengths.shape
    begins = range(0, rows, most)
    if positions is None:
        return [min(most, rows - begin) for begin in begins]
    longest = lengths.amax(dim=0).tolist()
    return [size for begin in begins for size in piece_sizes(longest[begin : begin + most], replicas, positions)]


def default_positions(device: torch.device) -> int | None:
    """Positions of histories per forward pass that suit the device; None: the whole batch at once.

    On a CPU what a layer makes of a piece is to stay in the cache; a GPU wants all the parallelism it can get.
    """
    return POSITIONS if device.type == "cpu" else None
