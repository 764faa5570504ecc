"""Multi-head self-attention under the replica axis."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdaf.model.layers.basic import LastToken, Linear, as_factor

# Sequences of one call: CUDA's fused kernels lay them along a grid axis that holds 65,535 blocks.
MOST_SEQUENCES = 65_535


class Attention(nn.Module):
    """x (replica, batch, length, hidden) -> same: softmax(Q K^T / sqrt(width)) V in each head, then a projection.

    A position attends to every valid one and to itself, so that an empty history is finite.
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"attention: {hidden} channels do not divide among {heads} heads")
        self.heads = heads
        self.query = Linear(hidden, hidden)
        self.key = Linear(hidden, hidden, bias=False)  # a bias moves all scores of a query alike: softmax forgets it
        self.value = Linear(hidden, hidden)
        self.output = Linear(hidden, hidden)

    def forward(self, x: Tensor, lengths: Tensor, last_token: LastToken | None = None) -> Tensor:
        """All positions, or only the ``last_token``: (replica, batch, 1, hidden)."""
        x = as_factor(x)
        steps = torch.arange(x.shape[2], device=x.device)
        asked = steps.expand(*lengths.shape, -1) if last_token is None else last_token.position.unsqueeze(-1)
        readable = (steps < lengths.unsqueeze(-1)).unsqueeze(-2) | (steps == asked.unsqueeze(-1))
        queries = self.query(x if last_token is None else as_factor(last_token.x))
        y = _attend(self._heads(queries), self._heads(self.key(x)), self._heads(self.value(x)), readable)
        return self.output(y.transpose(1, 2).reshape(queries.shape))

    def _heads(self, x: Tensor) -> Tensor:
        """(replica, batch, length, hidden) -> (replica * batch, head, length, width)."""
        return x.flatten(0, 1).unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, readable: Tensor) -> Tensor:
    """Attention of (replica * batch, head, length, width); readable (replica, batch, queries, length) bool."""
    masks = readable.flatten(0, 1).unsqueeze(1)
    parts = zip(*(t.split(MOST_SEQUENCES) for t in (query, key, value, masks)), strict=True)
    attended = [F.scaled_dot_product_attention(q, k, v, mask) for q, k, v, mask in parts]
    return attended[0] if len(attended) == 1 else torch.cat(attended)
