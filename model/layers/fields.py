"""Embedding tables by name, and the fields that read them: of the sample itself and, pooled, of its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mdaf.data.schema import Batch, Field, Schema
from mdaf.model.layers.basic import Embedding, factor_type, mean_position
from mdaf.model.ops.embedding import side_by_side


class Tables(nn.ModuleDict):
    """The embedding tables that ``fields`` read; fields that share a table share its vectors.

    ``embedding`` is the width of every table, or of each by name, with ``other`` for those that it does not name.
    """

    def __init__(self, schema: Schema, fields: Sequence[Field], embedding: int | Mapping[str, int]) -> None:
        if not fields:
            raise ValueError("no field is left to read: leave fewer out (model.without) or choose another model")

        def width(table: str) -> int:
            return embedding if isinstance(embedding, int) else embedding.get(table, embedding["other"])

        widths = {table: width(table) for table in sorted({field.table for field in fields})}
        super().__init__({table: Embedding(schema.tables[table], dim) for table, dim in widths.items()})
        self.widths = widths

    def width(self, fields: Sequence[Field]) -> int:
        """Channels of the vectors of ``fields`` side by side."""
        return sum(self.widths[field.table] for field in fields)

    def each(self, fields: Sequence[Field], ids: Mapping[str, Tensor]) -> list[Tensor]:
        """The vector of each field: ids (replica, ...) -> (replica, ..., width)."""
        return [self[field.table](ids[field.name]) for field in fields]

    def side_by_side(self, fields: Sequence[Field], ids: Mapping[str, Tensor]) -> Tensor:
        """The vectors of all ``fields``, concatenated."""
        return torch.cat(self.each(fields, ids), dim=-1)

    def factors(self, fields: Sequence[Field], ids: Mapping[str, Tensor]) -> Tensor:
        """As ``side_by_side``, for a product alone: in the type that autocast gives its factors."""
        tables = [cast(Embedding, self[field.table]) for field in fields]
        parts = [table.rows(ids[field.name]) for table, field in zip(tables, fields, strict=True)]
        return side_by_side(parts, factor_type(parts[0].weight))


def event_fields(schema: Schema, match_features: bool) -> tuple[Field, ...]:
    """The fields of an event that a model reads.

    With ``match_features`` each event also has fields that say whether its item, its category and so on equal the
    candidate's. Every model takes them from here, as fields like any other.
    """
    return schema.sequence + (schema.matches if match_features else ())


class FieldVectors(nn.Module):
    """Every field of a sample as a vector of one width: batch -> (replica, batch, field, width).

    ``history``         ``mean``: each field of the events is one more field, the mean over the history (zero where it
                        is empty), from the table that it shares with the static one; ``none``: static fields alone.
    ``match_features``  as in ``event_fields``.
    """

    def __init__(self, schema: Schema, width: int, history: str = "none", match_features: bool = False) -> None:
        super().__init__()
        self.static = schema.static
        self.pooled: tuple[Field, ...] = event_fields(schema, match_features) if history == "mean" else ()
        self.tables = Tables(schema, self.static + self.pooled, width)
        self.count = len(self.static) + len(self.pooled)

    def forward(self, batch: Batch) -> Tensor:
        vectors = self.tables.each(self.static, batch.static)
        vectors += [mean_position(x, batch.lengths) for x in self.tables.each(self.pooled, batch.sequence)]
        return torch.stack(vectors, dim=2)
