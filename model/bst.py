"""BST: the Behavior Sequence Transformer (arXiv 1905.06874)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mdaf.data.schema import Batch, Schema
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.layers.basic import Head
from mdaf.model.layers.fields import Tables, event_fields
from mdaf.model.layers.sequence import SequenceBranch


class BST(CTRModel):
    """The static fields and what a transformer makes of history and candidate side by side, then a head.

    ``sequence`` are the arguments of ``SequenceBranch``; static fields and events share its tables.
    """

    thread_safe = True

    def __init__(self, schema: Schema, sequence: Mapping[str, Any], head: list[int]) -> None:
        super().__init__()
        self.static = schema.static
        events = event_fields(schema, sequence["match_features"])
        self.tables = Tables(schema, self.static + events, sequence["embedding"])
        self.sequence = SequenceBranch(schema, **sequence, tables=self.tables)
        self.head = Head(self.tables.width(self.static) + sequence["hidden"], head)

    def forward(self, batch: Batch) -> Output:
        static = self.tables.side_by_side(self.static, batch.static)
        return Output(self.head(torch.cat([static, self.sequence(batch)], dim=-1)))
