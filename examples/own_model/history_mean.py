"""HistoryMean: the mean of the history beside the candidate, then a small network."""

from __future__ import annotations

import torch

from mdaf.data.schema import Batch, Schema
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.layers.basic import Head, mean_position
from mdaf.model.layers.fields import Tables


class HistoryMean(CTRModel):
    """logit = network([static fields, mean of the history's events]).

    ``embedding``  the width of each table. ``head``  the widths of the network's hidden layers.
    The other keys of the YAML would be further arguments here. ``schema`` comes from the data.
    """

    def __init__(self, schema: Schema, embedding: int, head: list[int]) -> None:
        super().__init__()
        self.static, self.events = schema.static, schema.sequence
        self.tables = Tables(schema, self.static + self.events, embedding)
        self.head = Head(self.tables.width(self.static + self.events), head)

    def forward(self, batch: Batch) -> Output:
        """Every tensor begins with a replica axis, so that several runs can train as one stacked model."""
        static = self.tables.side_by_side(self.static, batch.static)
        history = mean_position(self.tables.side_by_side(self.events, batch.sequence), batch.lengths)
        return Output(self.head(torch.cat([static, history], dim=-1)))
