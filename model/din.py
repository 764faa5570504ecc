"""DIN: the history weighed event by event against the candidate (arXiv 1706.06978)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from mdaf.data.schema import Batch, Field, Schema
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.layers.basic import Head, Linear, valid_positions
from mdaf.model.layers.fields import Tables, event_fields


class PReLU(nn.Module):
    """x where it is positive, else x times a learned slope of its channel; x (replica, ..., dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((1, dim), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * self.slope.view(-1, *[1] * (x.dim() - 2), x.shape[-1]))


class ActivationUnit(nn.Module):
    """The weight of each event, not normalized: MLP([t, h, t - h, t * h, e]) -> (replica, batch, length, 1).

    t, h are the candidate and the event in the fields that both have, e is what an event alone has. PReLU, as in the
    paper's first version: Dice would tie a sample's score to its batch.
    """

    def __init__(self, compared: int, extra: int, hidden: list[int]) -> None:
        super().__init__()
        widths = [4 * compared + extra, *hidden]
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(widths))
        self.activations = nn.ModuleList(PReLU(width) for width in hidden)
        self.weight = Linear(widths[-1], 1)

    def forward(self, target: Tensor, event: Tensor, extra: list[Tensor]) -> Tensor:
        target = target.unsqueeze(2).expand_as(event)
        x = torch.cat([target, event, target - event, target * event, *extra], dim=-1)
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = activation(layer(x))
        return self.weight(x)


class DIN(CTRModel):
    """The static fields and the weighted sum of the events side by side, then a head.

    ``embedding`` the width of each table, shared by static fields and events; ``attention`` the widths of the
    activation unit; ``match_features`` as in ``event_fields``. ValueError without a field to compare by.
    """

    def __init__(
        self,
        schema: Schema,
        embedding: Mapping[str, int],
        attention: list[int],
        match_features: bool,
        head: list[int],
    ) -> None:
        super().__init__()
        events = event_fields(schema, match_features)
        self.static = schema.static
        self.compared: tuple[Field, ...] = tuple(field for field in events if field.name in schema.target)
        self.extra: tuple[Field, ...] = tuple(field for field in events if field.name not in schema.target)
        if not self.compared:
            raise ValueError("DIN weighs events against the candidate: no field of the events is the candidate's too")
        by_name = {field.name: field for field in schema.static}
        self.targets = tuple(by_name[schema.target[field.name]] for field in self.compared)
        self.tables = Tables(schema, self.static + events, embedding)
        compared, extra = self.tables.width(self.compared), self.tables.width(self.extra)
        self.unit = ActivationUnit(compared, extra, attention)
        self.head = Head(self.tables.width(self.static) + compared + extra, head)

    def forward(self, batch: Batch) -> Output:
        event = self.tables.side_by_side(self.compared, batch.sequence)
        target = self.tables.side_by_side(self.targets, batch.static)
        extra = self.tables.each(self.extra, batch.sequence)
        weight = self.unit(target, event, extra) * valid_positions(event, batch.lengths)
        interest = (weight * torch.cat([event, *extra], dim=-1)).sum(dim=2)
        static = self.tables.side_by_side(self.static, batch.static)
        return Output(self.head(torch.cat([static, interest], dim=-1)))
