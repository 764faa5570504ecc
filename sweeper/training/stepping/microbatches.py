"""How many rows a forward pass computes: a CPU's micro-batches, and a GPU's passes in evaluation.

The cost of a micro-batch has a constant part (Python asks for about a thousand operations) and a part for each position
that it computes, padding included. Few micro-batches compute more padding where history lengths differ; many
micro-batches spend more time on calls. If a micro-batch is so large that a layer's tensor does not fit into the cache,
it waits for memory. Both are measured at a model whose widest tensors have 512 channels for each event. A position of
a model with fewer of them counts as so much less.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

#: The channels of each event to which the two numbers below belong.
CHANNELS = 512
#: The most positions of a micro-batch on a CPU: rows times the longest history, plus one for the candidate. A layer's
#: tensor of 512 channels then takes 32 MB. Half and twice this number are equally fast within a few percent.
POSITIONS = 16384
#: The constant cost of a micro-batch, in positions.
CALLS = 256
#: The same where several are computed at once: their threads share Python, and each adds a gradient of its own.
CALLS_AT_ONCE = 640
#: Micro-batches of full size that are in memory at once; more workers compute smaller ones.
IN_MEMORY = 2
#: Micro-batches for each worker: the cuts that are tried.
PARTS_OF_A_WORKER = (1, 1.5, 2, 3)
#: Rows are cut in multiples of this number.
BLOCK = 64
#: On a GPU a forward pass in evaluation has at most so many times the rows that were asked for, over all replicas: few
#: replicas take more rows each, since the GPU would wait for Python, and many take fewer, which fill it too.
MORE_OF_ALL = 8
#: Bytes of each channel of a position in such a pass: 13 to 15 in bfloat16, 17 to 20 in float32.
BYTES = 20
#: The share of the memory that more rows than were asked for may take. Of all memory, not of what is free: that would
#: make the rounding of a run depend on others.
SHARE_OF_MEMORY = 1 / 16
#: On a GPU a forward pass of short histories in evaluation has at most so many times the rows of one of the longest.
MORE_ROWS = 8


@dataclass(frozen=True)
class MicroBatch:
    """Rows of a batch that one forward pass computes.

    ``rows``     (replica, row), whose histories have ``longest`` events at most.
    ``first``    the place of the first of them in the batch, which is sorted by length.
    ``of``       the rows of the whole batch.
    """

    rows: Tensor
    longest: int
    first: int
    of: int

    @property
    def positions(self) -> int:
        """How many positions it computes, padding and candidates included."""
        return self.rows.numel() * (1 + self.longest)


def position_weight(model: nn.Module, replicas: int) -> float:
    """How many positions one position of so many replicas of ``model`` counts as."""
    return replicas * getattr(model, "event_channels", CHANNELS) / CHANNELS


def micro_batch_sizes(longest: Sequence[int], weight: float, positions: float, calls: int = CALLS) -> list[int]:
    """The number of rows of each micro-batch; the batch is sorted by length.

    ``longest`` is the longest history of each row over all replicas, (row,), ascending. ``weight`` is what a position
    counts as, as ``position_weight`` says it. ``calls`` is the constant cost of a micro-batch. Returns the cheapest cut
    in which no micro-batch computes more than ``positions``, unless a single block of rows already does.
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
            if cost is None or cheapest[first] + calls + computed < cost:
                cost, begin = cheapest[first] + calls + computed, first
        assert cost is not None
        cheapest.append(cost)
        cut.append(begin)
    sizes = []
    last = len(ends)
    while last:
        sizes.append((ends[last - 1]) - cut[last] * BLOCK)
        last = cut[last]
    return sizes[::-1]


def sizes_for_workers(longest: Sequence[int], weight: float, positions: int, workers: int) -> list[int]:
    """As ``micro_batch_sizes``, for micro-batches of which ``workers`` are computed at once.

    Of some cuts, from one micro-batch for each worker to three, it is the one whose last worker is done first.
    """
    positions = positions * IN_MEMORY // max(workers, IN_MEMORY)
    whole = micro_batch_sizes(longest, weight, positions, CALLS_AT_ONCE)
    computed = sum(_computed(whole, longest, weight))
    block = BLOCK * weight * (1 + longest[-1])
    limits = [min(positions, computed / (workers * each) + block / 2) for each in PARTS_OF_A_WORKER]
    cuts = [micro_batch_sizes(longest, weight, limit, CALLS_AT_ONCE) for limit in limits]
    return min(cuts, key=lambda sizes: _last_end(_computed(sizes, longest, weight), workers))


def _computed(sizes: Sequence[int], longest: Sequence[int], weight: float) -> list[float]:
    """How many positions each micro-batch computes."""
    return [weight * size * (1 + longest[end - 1]) for size, end in zip(sizes, accumulate(sizes), strict=True)]


def _last_end(computed: Sequence[float], workers: int) -> float:
    """When the last of ``workers`` is done, if each takes the largest micro-batch that is left whenever it is free."""
    ends = [0.0] * workers
    for positions in sorted(computed, reverse=True):
        heapq.heapreplace(ends, ends[0] + CALLS_AT_ONCE + positions)
    return max(ends)


def forward_pass_sizes(lengths: Tensor, most: int, positions: int | None, weight: float) -> list[int]:
    """The number of rows of each forward pass in evaluation; ``lengths`` (replica, row) is ascending.

    With ``positions``, every ``most`` rows are cut like a batch in training; ``weight`` is what a position counts as.
    Without, as on a GPU, a pass computes no more positions than ``most`` rows of the longest histories have.
    """
    longest = lengths.amax(dim=0).tolist() if lengths.shape[1] else []
    if positions is None:
        return _few_passes(longest, most)
    begins = range(0, len(longest), most)
    return [size for begin in begins for size in micro_batch_sizes(longest[begin : begin + most], weight, positions)]


def rows_of_a_pass(most: int, weight: float, replicas: int, longest: int, memory: int) -> int:
    """The rows of each replica in a GPU's forward pass of the longest histories, where ``most`` were asked for.

    ``weight`` is what a position counts as; ``memory`` is what the process may take of the GPU's, in bytes.
    """
    wanted = max(1, most * MORE_OF_ALL // replicas)
    if wanted <= most:
        return wanted
    fit = int(SHARE_OF_MEMORY * memory / ((1 + longest) * weight * CHANNELS * BYTES))
    return max(most, min(wanted, fit))


def _few_passes(longest: Sequence[int], most: int) -> list[int]:
    """The sizes of a GPU's forward passes: it waits for Python, so short histories go in passes of more rows.

    A pass of more than ``most`` rows is at most half padding, and has at most ``MORE_ROWS`` times as many.
    """
    sizes: list[int] = []
    begin, rows = 0, len(longest)
    while begin < rows:
        alike = bisect_right(longest, 2 * longest[begin] + 1, begin, min(begin + MORE_ROWS * most, rows))
        end = max(alike, min(begin + most, rows))
        while end - begin > most and (end - begin) * (1 + longest[end - 1]) > most * (1 + longest[-1]):
            end = begin + max(most, most * (1 + longest[-1]) // (1 + longest[end - 1]))
        sizes.append(end - begin)
        begin = end
    return sizes


def default_positions(device: torch.device) -> int | None:
    """The most positions of a forward pass that suit the device; None: the whole batch at once.

    On a CPU a layer's output should stay in the cache; a GPU needs as much parallelism as possible.
    """
    return POSITIONS if device.type == "cpu" else None
