"""Embedding tables by name, and vectors of fields: of a sample's static fields, and of its pooled history.

All models with embeddings use ``Tables``; models without a sequence branch use ``FieldVectors``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mdaf.data.schema import Batch, Field, Schema, weights_of
from mdaf.model.layers.basic import Embedding, factor_type, mean_position
from mdaf.model.ops.embedding import side_by_side


def attribute(name: str) -> str:
    """The name under which a module keeps what belongs to a field or a table: the same name, unless torch has one.

    Fields have the names of a log's columns, and torch takes ``type`` and ``items`` for its own, a dot for a path.
    """
    fit = name.replace("%", "%25").replace(".", "%2E")
    return f"{fit}%" if not fit or fit in ("widths", "_weighted") or hasattr(nn.ModuleDict(), fit) else fit


class Tables(nn.ModuleDict):
    """The embedding tables of ``fields``. Fields of the same table share its vectors.

    ``embedding``: the width of all tables, or a mapping from the names of tables to their widths, in which ``other`` is
    the width of all tables that it does not name. Raises ``ValueError`` if ``fields`` is empty.
    """

    def __init__(self, schema: Schema, fields: Sequence[Field], embedding: int | Mapping[str, int]) -> None:
        if not fields:
            raise ValueError("no field is left to read: leave fewer out (model.without) or choose another model")

        def width(table: str) -> int:
            return embedding if isinstance(embedding, int) else embedding.get(table, embedding["other"])

        widths = {table: width(table) for table in sorted({field.table for field in fields})}
        super().__init__({attribute(table): Embedding(schema.tables[table], dim) for table, dim in widths.items()})
        self.widths = widths
        self._weighted = {field.name for field in fields if schema.weighted(field)}

    def width(self, fields: Sequence[Field]) -> int:
        """The number of channels of the concatenated vectors of ``fields``."""
        return sum(self.widths[field.table] for field in fields)

    def each(self, fields: Sequence[Field], ids: Mapping[str, Tensor]) -> list[Tensor]:
        """The vector of each field: ids (replica, ...) -> (replica, ..., width).

        ``ids`` are a batch's; those of a weighted field are (replica, ..., member), and its weights lie beside them.
        """
        return [self._vectors(field, ids) for field in fields]

    def _vectors(self, field: Field, ids: Mapping[str, Tensor]) -> Tensor:
        vectors: Tensor = self[attribute(field.table)](ids[field.name])
        if field.name not in self._weighted:
            return vectors
        return (vectors * ids[weights_of(field.name)].unsqueeze(-1)).sum(dim=-2)

    def side_by_side(self, fields: Sequence[Field], ids: Mapping[str, Tensor]) -> Tensor:
        """The concatenated vectors of all ``fields``: ids (replica, ...) -> (replica, ..., sum of widths)."""
        return self._concatenated(fields, ids, as_factors=False)

    def factors(self, fields: Sequence[Field], ids: Mapping[str, Tensor]) -> Tensor:
        """As ``side_by_side``, in the type that autocast gives the factors of a matrix product."""
        return self._concatenated(fields, ids, as_factors=True)

    def _concatenated(self, fields: Sequence[Field], ids: Mapping[str, Tensor], *, as_factors: bool) -> Tensor:
        if any(field.name in self._weighted for field in fields):
            vectors = torch.cat(self.each(fields, ids), dim=-1)
            return vectors.to(factor_type(vectors)) if as_factors else vectors
        tables = [cast(Embedding, self[attribute(field.table)]) for field in fields]
        parts = [table.rows(ids[field.name]) for table, field in zip(tables, fields, strict=True)]
        weight = parts[0].weight
        return side_by_side(parts, factor_type(weight) if as_factors else weight.dtype)


def event_fields(schema: Schema, match_features: bool) -> tuple[Field, ...]:
    """The fields of an event that a model reads.

    With ``match_features`` each event also has the match fields, which say whether its item, its category and so on
    equal the candidate's. Models treat them like any other field.
    """
    return schema.sequence + (schema.matches if match_features else ())


class FieldVectors(nn.Module):
    """Each field of a sample as a vector of the same width: batch -> (replica, batch, field, width).

    ``history``         ``none``: only the static fields. ``mean``: also each field of the events, as its mean vector
                        over the history (zero if the history is empty). Both kinds of fields share their tables.
    ``match_features``  as in ``event_fields``.
    """

    def __init__(self, schema: Schema, width: int, history: str = "none", match_features: bool = False) -> None:
        super().__init__()
        self.static = schema.static
        self.pooled: tuple[Field, ...] = event_fields(schema, match_features) if history == "mean" else ()
        self.tables = Tables(schema, self.static + self.pooled, width)
        self.count = len(self.static) + len(self.pooled)

    def forward(self, batch: Batch) -> Tensor:
        vectors = [mean_position(x, batch.lengths) for x in self.tables.each(self.pooled, batch.sequence)]
        parts = [torch.stack(vectors, dim=2)] if vectors else []
        if self.static:
            together = self.tables.side_by_side(self.static, batch.static)
            parts = [together.unflatten(-1, (len(self.static), -1)), *parts]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
