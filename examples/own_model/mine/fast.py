"""HistoryMean with the replica axis: several runs are computed at once, by the layers of the project."""

from __future__ import annotations

import torch

from mdaf.data.schema import Batch, Schema
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.layers.basic import Head, mean_position
from mdaf.model.layers.fields import Tables


class FastHistoryMean(CTRModel):
    """logit = network([static fields, mean of the history's events]). Every tensor begins with the replica axis."""

    def __init__(self, schema: Schema, width: int, hidden: int) -> None:
        super().__init__()
        self.static, self.events = schema.static, schema.sequence
        self.tables = Tables(schema, self.static + self.events, width)
        self.head = Head(self.tables.width(self.static + self.events), [hidden])

    def forward(self, batch: Batch) -> Output:
        """Logits (replica, batch)."""
        static = self.tables.side_by_side(self.static, batch.static)
        history = mean_position(self.tables.side_by_side(self.events, batch.sequence), batch.lengths)
        return Output(self.head(torch.cat([static, history], dim=-1)))
