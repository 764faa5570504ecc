"""The order of a store's training rows in an epoch."""

from __future__ import annotations

import torch

from mdaf.streams import stream_seed


def epoch_order(
    rows: torch.Tensor,
    seed: int,
    epoch: int,
    *,
    lengths: torch.Tensor | None = None,
    batch_size: int = 1,
    window: int = 0,
) -> torch.Tensor:
    """``rows`` in the order of an epoch, int64, on their device; every device gets the same order.

    The order comes from the random stream (seed, "order", epoch). To go on within an epoch, a resumed run needs only
    the numbers of the epoch and of its step.

    ``window``   sort the rows of this many batches by the ``lengths`` of their histories (rows,), so that batches
                 contain less padding; 0: do not sort. Every row still comes exactly once, and the short batch comes
                 last. The seed does not affect the order of the lengths, so replicas in lock-step get batches of
                 short histories at the same steps.
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, "order", epoch))
    order = torch.randperm(len(rows), generator=generator)
    if window and lengths is not None:
        order = _bucketed(order, lengths.cpu(), epoch, batch_size, window)
    return rows[order.to(rows.device)]


def _bucketed(order: torch.Tensor, lengths: torch.Tensor, epoch: int, batch_size: int, window: int) -> torch.Tensor:
    """``order`` (rows,) with each window sorted by length, then cut into batches that are shuffled."""
    full = len(order) // batch_size
    whole, rest = order[: full * batch_size], order[full * batch_size :]
    number = torch.arange(len(whole)) // (window * batch_size)
    by_length = torch.argsort(number * (int(lengths.max()) + 1 if len(lengths) else 1) + lengths[whole], stable=True)
    batches = whole[by_length].view(full, batch_size)
    generator = torch.Generator().manual_seed(stream_seed(0, "buckets", epoch))
    shuffled = [
        start + torch.randperm(min(window, full - start), generator=generator) for start in range(0, full, window)
    ]
    return torch.cat([batches[torch.cat(shuffled)].view(-1), rest]) if shuffled else rest
