"""HistoryMean as a plain module: the mean of the history beside the candidate, then a small network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mdaf.data.schema import Batch, Field, Schema


class HistoryMean(nn.Module):
    """logit = network([static fields, mean of the history's events]).

    ``schema`` comes from the data. The other arguments are keys of ``conf/model/history_mean.yaml``: ``width`` of each
    embedding, ``hidden`` units of the network.
    """

    def __init__(self, schema: Schema, width: int, hidden: int) -> None:
        super().__init__()
        self.static, self.events = schema.static, schema.sequence
        names = dict.fromkeys(field.table for field in (*self.static, *self.events))
        self.table_of = {name: number for number, name in enumerate(names)}
        self.tables = nn.ModuleList(nn.Embedding(schema.tables[name], width, padding_idx=0) for name in names)
        inputs = width * (len(self.static) + len(self.events))
        self.network = nn.Sequential(
            nn.BatchNorm1d(inputs), nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, 1)
        )

    def forward(self, batch: Batch) -> Tensor:
        """Logits (batch,)."""
        static = self.vectors(self.static, batch.static)
        events = self.vectors(self.events, batch.sequence)
        valid = torch.arange(events.shape[1], device=events.device) < batch.lengths[:, None]
        history = (events * valid[..., None]).sum(dim=1) / batch.lengths.clamp(min=1)[:, None]
        return self.network(torch.cat([static, history], dim=-1)).squeeze(-1)

    def vectors(self, fields: Sequence[Field], ids: Mapping[str, Tensor]) -> Tensor:
        """The embeddings of some fields side by side: ids (...) -> (..., width of all)."""
        return torch.cat([self.tables[self.table_of[field.table]](ids[field.name]) for field in fields], dim=-1)
