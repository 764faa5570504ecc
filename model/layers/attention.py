"""Multi-head self-attention (arXiv 1706.03762) for stacked replicas, used by ``encoder.TransformerEncoder``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdaf.model.layers.basic import LastToken, Linear, as_factor

# The most sequences of one call. CUDA's fused kernels use a grid axis for them that has at most 65,535 blocks.
MOST_SEQUENCES = 65_535


class Attention(nn.Module):
    """softmax(Q K^T / sqrt(width)) V in each head, then a projection: x (replica, batch, length, hidden) -> same shape.

    A position attends to all valid positions and to itself. So the result for an empty history is finite.

    Raises ``ValueError`` if ``hidden`` is not divisible by ``heads``.
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"attention: {hidden} channels do not divide among {heads} heads")
        self.heads = heads
        self.query = Linear(hidden, hidden)
        self.key = Linear(hidden, hidden, bias=False)  # a bias would add the same to all scores of a query
        self.value = Linear(hidden, hidden)
        self.output = Linear(hidden, hidden)

    def forward(self, x: Tensor, lengths: Tensor, last_token: LastToken | None = None) -> Tensor:
        """All positions; with ``last_token`` only that one: (replica, batch, 1, hidden)."""
        x = as_factor(x)
        steps = torch.arange(x.shape[2], device=x.device)
        query_positions = steps.expand(*lengths.shape, -1) if last_token is None else last_token.position.unsqueeze(-1)
        readable = (steps < lengths.unsqueeze(-1)).unsqueeze(-2) | (steps == query_positions.unsqueeze(-1))
        queries = self.query(x if last_token is None else as_factor(last_token.x))
        y = _attend(self._heads(queries), self._heads(self.key(x)), self._heads(self.value(x)), readable)
        return self.output(y.transpose(1, 2).reshape(queries.shape))

    def _heads(self, x: Tensor) -> Tensor:
        """(replica, batch, length, hidden) -> (replica * batch, head, length, width)."""
        return x.flatten(0, 1).unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, readable: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(width)) V for tensors (replica * batch, head, length, width).

    ``readable`` (replica, batch, queries, length) bool says which positions a query attends to.
    """
    masks = readable.flatten(0, 1).unsqueeze(1)
    if not query.is_cuda:
        return F.scaled_dot_product_attention(query, key, value, masks)
    parts = zip(*(t.split(MOST_SEQUENCES) for t in (query, key, value, masks)), strict=True)
    attended = [F.scaled_dot_product_attention(q, k, v, mask) for q, k, v, mask in parts]
    return attended[0] if len(attended) == 1 else torch.cat(attended)
