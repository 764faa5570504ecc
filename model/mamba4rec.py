"""Mamba4Rec: Mamba over the history, scored against the candidate (arXiv 2403.03900)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mdaf.data.schema import Batch, Schema
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.layers.basic import Head, Linear
from mdaf.model.layers.fields import Tables, event_fields
from mdaf.model.layers.sequence import SequenceBranch


class Mamba4Rec(CTRModel):
    """A head over the history h, the candidate t and h * t, whose sum is the paper's score.

    The candidate is read in the fields that it shares with the events, from their tables. ``sequence`` are the
    arguments of ``SequenceBranch``. ValueError if candidate and events share no field.
    """

    thread_safe = True

    def __init__(self, schema: Schema, sequence: Mapping[str, Any], head: list[int], scan: str) -> None:
        super().__init__()
        names = set(schema.target.values())
        self.candidate = tuple(field for field in schema.static if field.name in names)
        if not self.candidate:
            raise ValueError("Mamba4Rec scores a history against the candidate: they share no field")
        fields = event_fields(schema, sequence["match_features"]) + self.candidate
        self.tables = Tables(schema, fields, sequence["embedding"])
        self.sequence = SequenceBranch(schema, **sequence, scan=scan, tables=self.tables)
        self.project = Linear(self.tables.width(self.candidate), sequence["hidden"])
        self.head = Head(3 * sequence["hidden"], head)

    def forward(self, batch: Batch) -> Output:
        history = self.sequence(batch)
        target = self.project(self.tables.factors(self.candidate, batch.static))
        return Output(self.head(torch.cat([history, target, history * target], dim=-1)))
