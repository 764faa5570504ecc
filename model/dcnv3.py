"""DCNv3: cross networks whose half of every layer is masked by what the layer itself found (arXiv 2407.13349)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdaf.data.schema import Batch, Schema
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.layers.basic import Dropout, Head, LayerNorm, Linear, factor_type
from mdaf.model.layers.fields import FieldVectors
from mdaf.model.ops.cross_layer import crossed


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

    def forward(self, x: Tensor, base: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        h, mask = self.project.product(x), self.dropout.mask(x)
        return crossed(h, x, base, self.norm.weight, self.norm.bias, self.bias, self.norm.eps, mask, dtype)


class CrossNetworks(nn.Module):
    """The exponential (deep) and the linear (shallow) cross network side by side.

    x (replica, batch, D) -> (replica, batch, 2 D): the last layers of both, for a logit each or for what follows, in
    ``dtype`` if one is given. Between layers vectors stay in float32, since each layer adds to the one before it.
    """

    def __init__(self, dim: int, deep_layers: int, shallow_layers: int) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"DCNv3 splits its input in halves: got {dim} channels, expected an even number")
        self.deep = nn.ModuleList(CrossLayer(dim) for _ in range(deep_layers))
        self.shallow = nn.ModuleList(CrossLayer(dim) for _ in range(shallow_layers))
        self.outputs = 2 * dim

    def forward(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        deep = shallow = x
        for layer in self.deep:
            deep = layer(deep, base=deep, dtype=dtype if layer is self.deep[-1] else None)
        for layer in self.shallow:
            shallow = layer(shallow, base=x, dtype=dtype if layer is self.shallow[-1] else None)
        return torch.cat([deep, shallow], dim=-1)


class StaticBranch(nn.Module):
    """Static fields -> embeddings -> cross networks -> (replica, batch, outputs)."""

    def __init__(self, schema: Schema, embedding: int, deep_layers: int, shallow_layers: int, outputs: int) -> None:
        super().__init__()
        self.fields = FieldVectors(schema, embedding)
        self.cross = CrossNetworks(embedding * self.fields.count, deep_layers, shallow_layers)
        self.project = Linear(self.cross.outputs, outputs)

    def forward(self, batch: Batch) -> Tensor:
        x = self.fields(batch).flatten(2)
        return self.project(self.cross(x, factor_type(x)))


class DCNv3(CTRModel):
    """DCNv3 alone: a logit of each cross network, and their mean.

    ``history`` and ``match_features`` as in ``FieldVectors``. ``tri_bce`` asks for the paper's loss, in which each
    network has one of its own: the logits of both are then the output's branches.
    """

    thread_safe = True

    def __init__(
        self,
        schema: Schema,
        embedding: int,
        deep_layers: int,
        shallow_layers: int,
        history: str,
        match_features: bool,
        tri_bce: bool,
    ) -> None:
        super().__init__()
        self.fields = FieldVectors(schema, embedding, history, match_features)
        self.event_channels = embedding
        dim = embedding * self.fields.count
        self.cross = CrossNetworks(dim, deep_layers, shallow_layers)
        self.deep_logit = Head(dim, ())
        self.shallow_logit = Head(dim, ())
        self.tri_bce = tri_bce
        self.separable = not tri_bce  # a branch is weighted by its loss on the whole batch

    def forward(self, batch: Batch) -> Output:
        deep, shallow = self.cross(self.fields(batch).flatten(2)).chunk(2, dim=-1)
        branches = (self.deep_logit(deep), self.shallow_logit(shallow))
        return Output((branches[0] + branches[1]) / 2, branches=branches if self.tri_bce else ())
