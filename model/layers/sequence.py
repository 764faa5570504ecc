"""The sequence branch: it encodes a history, with the candidate appended, into one vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdaf.data.schema import MATCH_EQUALS, PADDING, UNKNOWN, Batch, Field, Schema, weights_of
from mdaf.model.layers.basic import Dropout, LayerNorm, Linear, factor_type, mean_position, valid_positions
from mdaf.model.layers.encoder import ENCODERS
from mdaf.model.layers.fields import Tables, event_fields


class SequenceBranch(nn.Module):
    """Encodes the history of each sample: batch -> (replica, batch, hidden).

    ``kind``            the encoder, one of ``encoder.ENCODERS``; ``encoder`` are its arguments.
    ``embedding``       the width of each table of the events' fields; not used if shared ``tables`` are given.
    ``target_aware``    append the candidate as the last element of the sequence, so that the pooled position of a
                        causal model depends on history and candidate.
    ``match_features``  as in ``event_fields``.
    ``pooling``         the last valid position, or the mean of the valid positions.

    An empty history without a target is the zero vector.
    """

    def __init__(
        self,
        schema: Schema,
        kind: str,
        embedding: Mapping[str, int],
        hidden: int,
        pooling: str,
        target_aware: bool,
        match_features: bool,
        tables: Tables | None = None,
        **encoder: Any,
    ) -> None:
        super().__init__()
        self.schema = schema
        self.fields = event_fields(schema, match_features)
        self.target_aware = target_aware
        self.pooling = pooling
        self.tables = Tables(schema, self.fields, embedding) if tables is None else tables
        # A bias would soon be ten times larger than early projections, and all events equal after normalization.
        self.project = Linear(self.tables.width(self.fields), hidden, bias=False)
        self.dropout = Dropout()
        self.norm = LayerNorm(hidden, eps=1e-12)
        longest = schema.length + int(target_aware)
        self.encoder = ENCODERS[kind](hidden, longest, **encoder)
        for module in self.modules():
            if isinstance(module, Dropout):
                module.longest = longest

    def forward(self, batch: Batch) -> Tensor:
        lengths = batch.lengths
        sequence = batch.sequence
        if self.target_aware:
            sequence, lengths = self._append_target(batch), lengths + 1
        x = self.project(self.tables.factors(self.fields, sequence))
        x = self.norm(x, dropout=self.dropout, dtype=factor_type(x))
        if self.pooling == "mean":
            return mean_position(self.encoder(x, lengths), lengths)
        x = self.encoder(x, lengths, last=(lengths - 1).clamp(min=0))
        return (x * valid_positions(x, lengths)).squeeze(2)

    def _append_target(self, batch: Batch) -> dict[str, Tensor]:
        """Each field with the candidate's id at position ``lengths``.

        Fields that the candidate lacks are unknown there.
        """
        names = [field.name for field in self.fields if not self.schema.weighted(field)]
        longest = next(iter(batch.sequence.values())).shape[2] + 1
        added = torch.arange(longest, device=batch.lengths.device) == batch.lengths.unsqueeze(-1)
        found: dict[str, Tensor] = {}
        if names:
            events = F.pad(torch.stack([batch.sequence[name] for name in names]), (0, 1))
            candidate = torch.stack([self._of_candidate(name, batch).to(events.dtype) for name in names])
            found |= zip(names, torch.where(added, candidate.unsqueeze(-1), events), strict=True)
        for field in self.fields:
            if self.schema.weighted(field):
                for name, members in self._members_of_candidate(field, batch).items():
                    events = F.pad(batch.sequence[name], (0, 0, 0, 1))  # (replica, batch, length, member)
                    found[name] = torch.where(added.unsqueeze(-1), members.unsqueeze(2).to(events.dtype), events)
        return found

    def _of_candidate(self, name: str, batch: Batch) -> Tensor:
        """The candidate's id in a field of the events: (replica, batch)."""
        if name in self.schema.target:
            return batch.static[self.schema.target[name]]
        compared = any(field.name == name for field in self.schema.matches)
        return torch.full_like(batch.lengths, MATCH_EQUALS if compared else UNKNOWN, dtype=torch.int32)

    def _members_of_candidate(self, field: Field, batch: Batch) -> dict[str, Tensor]:
        """The candidate's ids and weights in a weighted field of the events, (replica, batch, member) each."""
        name, weights = field.name, weights_of(field.name)
        if name in self.schema.target:
            own = self.schema.target[name]
            return {name: batch.static[own], weights: batch.static[weights_of(own)]}
        first = torch.arange(batch.sequence[name].shape[-1], device=batch.lengths.device) == 0
        shape = (*batch.lengths.shape, len(first))
        return {name: torch.where(first, UNKNOWN, PADDING).expand(shape), weights: first.float().expand(shape)}
