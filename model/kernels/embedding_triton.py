"""Embedding lookup on CUDA and its gradient, in Triton, for ``mdaf.model.ops.embedding`` and for deferred Adam.

The gradient of a table's row is the sum over all positions that read the row. The ids are sorted, so that positions of
the same id are neighbours: a *run*. A program takes ``CHUNK`` neighbours and sums each run by a segmented scan. The sum
of a run that lies inside the chunk is added to the table. A run that crosses an edge of the chunk has a partial sum,
which goes to a list of two partial sums for each chunk. The same kernel is run on that list, until one chunk holds it.

So a long run costs no more than many short ones. No addition is atomic, so the result is the same each time. Nothing
waits for the host, so a CUDA graph can capture the kernels.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdaf.model.kernels.triton_math import load, store

#: Positions of a program that sums runs.
CHUNK = 64
#: Elements of a program that gathers rows.
TILE = 2048


@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["ids"])
def _embedding_gather(ids, table, out, count, dim, pitch, ROWS: tl.constexpr, DIM: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, DIM)
    row = tl.load(ids + i, mask=i < count, other=0).to(tl.int64)
    real = (i < count)[:, None] & (d < dim)[None, :]
    store(out + i[:, None] * pitch + d[None, :], load(table + row[:, None] * dim + d[None, :], real), real)


def gather(table: Tensor, ids: Tensor, out: Tensor) -> None:
    """Writes the rows ``ids`` (position,) of ``table`` (row, dim) to ``out`` (position, dim), in the type of ``out``.

    ``out`` may be a slice of a wider tensor's channels.
    """
    count, dim = out.shape
    if count:
        width = triton.next_power_of_2(dim)
        rows = max(1, TILE // width)
        _embedding_gather[(triton.cdiv(count, rows),)](ids, table, out, count, dim, out.stride(0), rows, width)


@triton.jit
def _add(left_sum, left_begins, right_sum, right_begins):
    """Combines two neighbouring ranges of a segmented scan: the left sum counts unless a run begins on the right."""
    return tl.where(right_begins > 0, right_sum, left_sum + right_sum), left_begins | right_begins


@triton.jit(do_not_specialize=["count"])
def _embedding_add_runs(
    ids, source, values, table, partial_ids, partial_sums, count, dim, pitch,
    SORTED: tl.constexpr, CHUNK: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0).to(tl.int64) * CHUNK
    i = first + tl.arange(0, CHUNK)
    d = tl.arange(0, DIM)
    real = i < count
    own = tl.load(ids + i, mask=real, other=-1)
    before = tl.load(ids + i - 1, mask=real & (i > 0), other=-1)
    after = tl.load(ids + i + 1, mask=i + 1 < count, other=-1)
    at = i
    if SORTED:
        at = tl.load(source + i, mask=real, other=0)
    channel = d < dim
    value = load(values + at[:, None] * pitch + d[None, :], real[:, None] & channel[None, :])
    begins = tl.broadcast_to((own != before).to(tl.int32)[:, None], (CHUNK, DIM))
    sums, begun = tl.associative_scan((value, begins), 0, _add)
    ends = (real & (own != after))[:, None] & channel[None, :]
    cell = table + own.to(tl.int64)[:, None] * dim + d[None, :]
    inside = ends & (begun > 0)
    tl.store(cell, tl.load(cell, mask=inside, other=0.0) + sums, mask=inside)
    head = tl.sum(tl.where(ends & (begun == 0), sums, 0.0), axis=0)
    is_last = (i == tl.minimum(first + CHUNK, count) - 1)[:, None]
    tail = tl.sum(tl.where(is_last & (own == after)[:, None] & channel[None, :], sums, 0.0), axis=0)
    slot = tl.program_id(0).to(tl.int64) * 2
    tl.store(partial_sums + slot * dim + d, head, mask=channel)
    tl.store(partial_sums + (slot + 1) * dim + d, tail, mask=channel)
    tl.store(partial_ids + slot, tl.load(ids + first))
    tl.store(partial_ids + slot + 1, tl.load(ids + tl.minimum(first + CHUNK, count) - 1))


def table_gradient(ids: Tensor, values: Tensor, rows: int) -> Tensor:
    """Sum of ``values`` (position, dim) over the positions of each id: (rows, dim) float32.

    ``ids``: (position,) integer in [0, rows). ``values`` may be a slice of a wider tensor's channels.
    """
    table = torch.zeros((rows, values.shape[1]), dtype=torch.float32, device=values.device)
    add_runs(*sorted_rows(ids, rows), values, table)
    return table


def sorted_rows(ids: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """``ids`` (position,) in [0, rows), sorted, as int32, and the position that each sorted id came from, as int64."""
    narrow = torch.uint8 if rows <= 256 else torch.int16 if rows <= 2**15 else torch.int32
    keys, source = torch.sort(ids.to(narrow), stable=True)
    return keys.to(torch.int32), source


def add_runs(keys: Tensor, source: Tensor, values: Tensor, table: Tensor) -> None:
    """Adds ``values`` (position, dim) to the rows of ``table`` (row, dim) in place, summed in a fixed order.

    ``keys``, ``source``: what ``sorted_rows`` returns. ``values[source[i]]`` is added to row ``keys[i]``. ``values``
    may be a slice of a wider tensor's channels.
    """
    dim, level = values.shape[1], True
    while len(keys):
        count = len(keys)
        chunks = triton.cdiv(count, CHUNK)
        partial_ids = torch.empty(2 * chunks, dtype=torch.int32, device=values.device)
        partial_sums = torch.empty((2 * chunks, dim), dtype=torch.float32, device=values.device)
        _embedding_add_runs[(chunks,)](
            keys, source, values, table, partial_ids, partial_sums, count, dim,
            values.stride(0), level, CHUNK, triton.next_power_of_2(dim),
        )  # fmt: skip
        if chunks == 1:
            return
        keys, source, values, level = partial_ids, partial_ids, partial_sums, False
