"""DCNv2: full-matrix crosses beside a deep network (arXiv 2008.13535, the parallel structure)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdaf.data.schema import Batch, Schema
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.layers.basic import MLP, Head, Linear
from mdaf.model.layers.fields import FieldVectors


class CrossNetworkV2(nn.Module):
    """x_(l+1) = x_0 * (W_l x_l + b_l) + x_l: (replica, batch, dim) -> same."""

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(dim, dim) for _ in range(layers))

    def forward(self, x0: Tensor) -> Tensor:
        x = x0
        for layer in self.layers:
            x = torch.addcmul(x, x0, layer(x))
        return x


class DCNv2(CTRModel):
    """The last cross and the last hidden layer of ``deep`` side by side, then a logit.

    ``history`` and ``match_features`` as in ``FieldVectors``.
    """

    thread_safe = True

    def __init__(
        self,
        schema: Schema,
        embedding: int,
        cross_layers: int,
        deep: list[int],
        history: str,
        match_features: bool,
    ) -> None:
        super().__init__()
        self.fields = FieldVectors(schema, embedding, history, match_features)
        self.event_channels = embedding
        dim = embedding * self.fields.count
        self.cross = CrossNetworkV2(dim, cross_layers)
        self.deep = MLP(dim, deep)
        self.head = Head(dim + self.deep.outputs, ())

    def forward(self, batch: Batch) -> Output:
        x = self.fields(batch).flatten(2)
        return Output(self.head(torch.cat([self.cross(x), self.deep(x)], dim=-1)))
