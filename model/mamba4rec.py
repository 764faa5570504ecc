"""Mamba4Rec: a stack of Mamba blocks over a user's history (arXiv 2403.03900)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.schema import MATCH_EQUALS, UNKNOWN, Batch, Field, Schema
from model.layers import Dropout, Embedding, FeedForward, LayerNorm, Linear, take_position
from model.mamba import Mamba


class Block(nn.Module):
    """x <- LN(dropout(Mamba(x)) + x); x <- LN(FFN(x) + x)."""

    def __init__(self, hidden: int, state: int, conv: int, expand: int, scan: str) -> None:
        super().__init__()
        self.mamba = Mamba(hidden, state, conv, expand, scan)
        self.dropout = Dropout()
        self.mamba_norm = LayerNorm(hidden, eps=1e-12)
        self.feed_forward = FeedForward(hidden, 4 * hidden)
        self.feed_forward_norm = LayerNorm(hidden, eps=1e-12)

    def forward(self, x: Tensor, lengths: Tensor, last: Tensor | None = None) -> Tensor:
        """x (replica, batch, length, hidden) -> same, or with ``last`` only that position, length 1."""
        mixed = self.dropout(self.mamba(x, lengths, last))
        x = self.mamba_norm(mixed + (x if last is None else take_position(x, last)))
        return self.feed_forward_norm(self.feed_forward(x) + x)


class SequenceBranch(nn.Module):
    """History -> (replica, batch, hidden).

    ``target_aware``    the candidate is appended as the last element of the sequence, so that a causal model reads the
                        history with the candidate in view where it is pooled.
    ``match_features``  each event carries whether its item and its category equal the candidate's.
    ``pooling``         the last valid position, or the mean of the valid ones.
    An empty history without a target is the zero vector.
    """

    def __init__(
        self,
        schema: Schema,
        embedding: dict[str, int],
        hidden: int,
        layers: int,
        state: int,
        conv: int,
        expand: int,
        pooling: str,
        target_aware: bool,
        match_features: bool,
        scan: str = "auto",
    ) -> None:
        super().__init__()
        self.schema = schema
        self.fields: tuple[Field, ...] = schema.sequence + (schema.matches if match_features else ())
        self.target_aware = target_aware
        self.pooling = pooling
        widths = {table: embedding.get(table, embedding["other"]) for table in sorted({f.table for f in self.fields})}
        self.tables = nn.ModuleDict({table: Embedding(schema.tables[table], dim) for table, dim in widths.items()})
        self.project = Linear(sum(widths[field.table] for field in self.fields), hidden)
        self.dropout = Dropout()
        self.norm = LayerNorm(hidden, eps=1e-12)
        self.blocks = nn.ModuleList(Block(hidden, state, conv, expand, scan) for _ in range(layers))
        for module in self.modules():
            if isinstance(module, Dropout):
                module.longest = schema.length + int(target_aware)

    def forward(self, batch: Batch) -> Tensor:
        lengths = batch.lengths
        sequence = {field.name: batch.sequence[field.name] for field in self.fields}
        if self.target_aware:
            sequence, lengths = self._append_target(sequence, batch), lengths + 1
        events = torch.cat([self.tables[field.table](sequence[field.name]) for field in self.fields], dim=-1)
        x = self.norm(self.dropout(self.project(events)))
        last = (lengths - 1).clamp(min=0) if self.pooling == "last" else None
        for block in self.blocks[:-1]:
            x = block(x, lengths)
        x = self.blocks[-1](x, lengths, last)  # nothing reads the other positions of the last block
        valid = torch.arange(x.shape[2], device=x.device) < lengths.unsqueeze(-1)
        pooled = (x * valid.unsqueeze(-1)).sum(dim=2)
        return pooled if last is not None else pooled / lengths.clamp(min=1).unsqueeze(-1)

    def _append_target(self, sequence: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Each field with the candidate's id at position ``lengths``; what an event alone can have is unknown there."""
        matches = {field.name for field in self.schema.matches}
        position = batch.lengths.unsqueeze(-1)
        longer = {}
        for name, ids in sequence.items():
            if name in self.schema.target:
                target = batch.static[self.schema.target[name]].unsqueeze(-1).to(ids.dtype)
            else:
                target = torch.full_like(position, MATCH_EQUALS if name in matches else UNKNOWN, dtype=ids.dtype)
            longer[name] = F.pad(ids, (0, 1)).scatter(2, position, target)
        return longer
