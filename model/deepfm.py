"""DeepFM: a factorization machine and a deep network over the same vectors (arXiv 1703.04247)."""

from __future__ import annotations

import torch
from torch import Tensor

from mdaf.data.schema import Batch, Schema
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.layers.basic import Head
from mdaf.model.layers.fields import FieldVectors


def pairwise_products(vectors: Tensor) -> Tensor:
    """The sum of <v_i, v_j> over all pairs i < j: vectors (replica, batch, field, width) -> (replica, batch).

    As (|sum of v|^2 - sum of |v|^2) / 2, linear in the number of fields.
    """
    return (vectors.sum(dim=2).square() - vectors.square().sum(dim=2)).sum(dim=-1) / 2


class DeepFM(CTRModel):
    """logit = sum of a weight a field + products of all pairs of field vectors + deep network.

    The bias of all three is the deep network's. ``history`` and ``match_features`` as in ``FieldVectors``.
    """

    thread_safe = True

    def __init__(self, schema: Schema, embedding: int, deep: list[int], history: str, match_features: bool) -> None:
        super().__init__()
        self.weights = FieldVectors(schema, 1, history, match_features)
        self.fields = FieldVectors(schema, embedding, history, match_features)
        self.event_channels = embedding
        self.deep = Head(embedding * self.fields.count, deep)

    def forward(self, batch: Batch) -> Output:
        vectors = self.fields(batch)
        linear = self.weights(batch).sum(dim=(2, 3))
        return Output(torch.stack([linear, pairwise_products(vectors), self.deep(vectors.flatten(2))]).sum(dim=0))
