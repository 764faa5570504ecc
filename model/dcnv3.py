"""DCNv3: cross networks whose half of every layer is masked by what the layer itself found (arXiv 2407.13349)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.schema import Field, Schema
from model.layers import Dropout, Embedding, LayerNorm, Linear


class CrossLayer(nn.Module):
    """x <- base * (c + b) + x, with H = W x in R^(D/2) and c = [H, H * ReLU(LN(H))].

    x and base (replica, batch, D) -> (replica, batch, D); D even. ``base`` is x itself in the exponential network (the
    order of crosses doubles each layer) and the network's input in the linear one (it grows by one).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = Linear(dim, dim // 2, bias=False)
        self.norm = LayerNorm(dim // 2)
        self.bias = nn.Parameter(torch.zeros(1, dim))
        self.dropout = Dropout()

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        h = self.project(x)
        cross = torch.cat([h, h * F.relu(self.norm(h))], dim=-1)
        return self.dropout(torch.addcmul(x, base, cross + self.bias.unsqueeze(1)))


class DCNv3(nn.Module):
    """The exponential (deep) and the linear (shallow) cross network side by side.

    x (replica, batch, D) -> (replica, batch, 2 D): the last layers of both, for a logit each or for what follows.
    """

    def __init__(self, dim: int, deep_layers: int, shallow_layers: int) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"DCNv3 splits its input in halves: got {dim} channels, expected an even number")
        self.deep = nn.ModuleList(CrossLayer(dim) for _ in range(deep_layers))
        self.shallow = nn.ModuleList(CrossLayer(dim) for _ in range(shallow_layers))
        self.outputs = 2 * dim

    def forward(self, x: Tensor) -> Tensor:
        deep = shallow = x
        for layer in self.deep:
            deep = layer(deep, base=deep)
        for layer in self.shallow:
            shallow = layer(shallow, base=x)
        return torch.cat([deep, shallow], dim=-1)


class StaticBranch(nn.Module):
    """Static fields -> embeddings -> DCNv3 -> (replica, batch, outputs)."""

    def __init__(self, schema: Schema, embedding: int, deep_layers: int, shallow_layers: int, outputs: int) -> None:
        super().__init__()
        self.fields: tuple[Field, ...] = schema.static
        tables = {field.table for field in self.fields}
        self.tables = nn.ModuleDict({table: Embedding(schema.tables[table], embedding) for table in sorted(tables)})
        self.cross = DCNv3(embedding * len(self.fields), deep_layers, shallow_layers)
        self.project = Linear(self.cross.outputs, outputs)

    def forward(self, static: dict[str, Tensor]) -> Tensor:
        x = torch.cat([self.tables[field.table](static[field.name]) for field in self.fields], dim=-1)
        return self.project(self.cross(x))
