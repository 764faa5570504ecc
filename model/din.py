"""DIN: the history weighed event by event against the candidate (arXiv 1706.06978)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdaf.data.schema import Batch, Field, Schema
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.layers.basic import Head, Linear, product, valid_positions
from mdaf.model.layers.fields import Tables, event_fields


class PReLU(nn.Module):
    """x where it is positive, else x times a learned slope of its channel; x (replica, ..., dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((1, dim), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        slopes = self.slope.to(x.dtype)
        if len(x) == 1:
            return F.prelu(x.flatten(0, -2), slopes[0]).view(x.shape)
        parts = [F.prelu(rows.flatten(0, -2), slope) for rows, slope in zip(x, slopes, strict=True)]
        return torch.stack(parts).view(x.shape)


class ActivationUnit(nn.Module):
    """The weight of each event, not normalized: MLP([t, h, t - h, t * h, e]) -> (replica, batch, length, 1).

    t, h are the candidate and the event in the fields that both have, e is what an event alone has. PReLU, as in the
    paper's first version: Dice would tie a sample's score to its batch.
    """

    def __init__(self, compared: int, extra: int, hidden: list[int]) -> None:
        super().__init__()
        self.parts = [compared] * 4 + [extra]
        widths = [sum(self.parts), *hidden]
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(widths))
        self.activations = nn.ModuleList(PReLU(width) for width in hidden)
        self.weight = Linear(widths[-1], 1)

    def forward(self, target: Tensor, event: Tensor, extra: list[Tensor]) -> Tensor:
        """target (replica, batch, dim), event (replica, batch, length, dim), extra (replica, batch, length, ...)."""
        first, *others = [*self.layers, self.weight]
        x = self._compared(cast(Linear, first), target, event, extra)
        for layer, activation in zip(others, self.activations, strict=True):
            x = layer(activation(x))
        return x

    def _compared(self, layer: Linear, target: Tensor, event: Tensor, extra: list[Tensor]) -> Tensor:
        """``layer`` on [t, h, t - h, t * h, e], with half of the multiplications.

        A t + B h + C (t - h) + D (t * h) + E e = (A + C) t + (B - C) h + D (t * h) + E e, and the first summand is the
        same for all events.
        """
        of_target, of_event, of_difference, of_product, of_extra = layer.weight.split(self.parts, dim=2)
        compared = torch.cat([event, target.unsqueeze(2) * event, *extra], dim=-1)
        by_event = product(compared, torch.cat([of_event - of_difference, of_product, of_extra], dim=2))
        by_target = product(target, of_target + of_difference)
        if layer.bias is not None:
            by_target = by_target + layer.bias.unsqueeze(1)
        return by_event + by_target.unsqueeze(2)


class DIN(CTRModel):
    """The static fields and the weighted sum of the events side by side, then a head.

    ``embedding`` the width of each table, shared by static fields and events; ``attention`` the widths of the
    activation unit; ``match_features`` as in ``event_fields``. ValueError without a field to compare by.
    """

    thread_safe = True

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
        interest = [weighted_sum(weight, vectors) for vectors in (event, *extra)]
        static = self.tables.side_by_side(self.static, batch.static)
        return Output(self.head(torch.cat([static, *interest], dim=-1)))


def weighted_sum(weight: Tensor, x: Tensor) -> Tensor:
    """The sum over the positions of x, each times its weight, in float32: (replica, batch, channel).

    weight (replica, batch, length, 1), x (replica, batch, length, channel).
    """
    with torch.autocast(x.device.type, enabled=False):
        return (weight.float().transpose(2, 3) @ x.float()).squeeze(2)
