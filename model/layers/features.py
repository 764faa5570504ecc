"""Features for models without embeddings: counts, recencies and popularities. ``mdaf.model.boosted`` uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mdaf.data.schema import BUCKETS, FIRST_ID, MATCH_EQUALS, Batch, Field, Schema, weights_of
from mdaf.model.layers.cell_features import CellFeatures

SMALL_TABLE = 64  # up to so many rows, an id itself is a feature; above, its popularity is
FEW_VALUES = 16  # up to so many rows, events are counted for each value of a field
RECENT = (1, 5, 10, 20)  # events are counted in the last so many


@dataclass(frozen=True)
class _Comparison:
    """Which events equal the candidate in one field, such as the item or the category.

    ``match``   the match field that says so; None if the ids must be compared.
    ``event``   the field of the events.
    ``static``  the field of the candidate.
    """

    name: str
    match: str | None
    event: str
    static: str

    def equal(self, batch: Batch) -> Tensor:
        """Whether each event equals the candidate: (replica, batch, length) bool. Padding and unknown ids never do."""
        if self.match is not None:
            return batch.sequence[self.match] == MATCH_EQUALS
        ids = batch.sequence[self.event]
        return (ids >= FIRST_ID) & (ids == batch.static[self.static].unsqueeze(-1))


class Features:
    """Computes features from batches. Which features there are depends only on the schema.

    From the sample: the ids of small tables, and the popularity of the ids of other tables. From the history: its
    length, and the fields of its last event. From each field that events and candidate have in common:

    - how many distinct ids the history holds;
    - how many events equal the candidate: of all, of the last few, and for each value of the events' other fields;
    - how many events ago the last equal event was, and the other fields of that event.

    Numbers and lists have features of their own, see ``CellFeatures``.

    ``names``    the names of the features, in order.
    ``counted``  the static fields whose ids are counted in training, for their popularity.
    """

    def __init__(self, schema: Schema) -> None:
        rows = schema.tables
        self.schema = schema
        matches = {field.name for field in schema.matches}
        self.cells = CellFeatures(schema)
        weighted = {f.name for f in schema.sequence if schema.weighted(f)}
        self.compared = tuple(
            _Comparison(event, f"match_{event}" if f"match_{event}" in matches else None, event, static)
            for event, static in schema.target.items()
            if event not in weighted or f"match_{event}" in matches
        )
        static = [f for f in schema.static if not schema.weighted(f)]
        ordered = {table for table, cells in schema.cells.items() if cells.kind == BUCKETS}
        self.plain: tuple[Field, ...] = tuple(f for f in static if rows[f.table] <= SMALL_TABLE or f.table in ordered)
        self.counted: tuple[Field, ...] = tuple(f for f in static if f not in self.plain)
        self.events: tuple[Field, ...] = tuple(
            f for f in schema.sequence if f.name not in schema.target and f.name not in weighted
        )
        self.names = tuple(self._columns(_empty_batch(schema), {f.name: torch.zeros(1, 1) for f in self.counted}))

    def __call__(self, batch: Batch, popularity: Mapping[str, Tensor]) -> Tensor:
        """The features of a batch: (replica, batch, feature) float32, NaN where a feature does not apply.

        ``popularity``: for each field of ``counted``, how often each id occurs in training, (replica, rows).
        """
        columns = self._columns(batch, popularity)
        return torch.stack([column.float() for column in columns.values()], dim=-1)

    def _columns(self, batch: Batch, popularity: Mapping[str, Tensor]) -> dict[str, Tensor]:
        columns = {f"{field.name}": batch.static[field.name] for field in self.plain}
        for field in self.counted:
            ids = batch.static[field.name].long()
            known = popularity[field.name].gather(1, ids)
            columns[f"{field.name} popularity"] = known.masked_fill(ids < FIRST_ID, torch.nan)
        columns["history length"] = batch.lengths
        last = batch.lengths - 1
        for field in self.events:
            columns[f"last event's {field.name}"] = _value_at(batch.sequence[field.name], last)
        for comparison in self.compared:
            columns |= self._compared_columns(comparison, batch)
        return columns | self.cells.columns(batch)

    def _compared_columns(self, comparison: _Comparison, batch: Batch) -> dict[str, Tensor]:
        name, equal = comparison.name, comparison.equal(batch)
        lengths = batch.lengths
        position = torch.arange(equal.shape[-1], device=equal.device)
        last = torch.where(equal, position, -1).amax(dim=-1)
        ago = lengths - 1 - last
        columns = {
            f"same {name}: events": equal.sum(dim=-1),
            f"same {name}: share": equal.sum(dim=-1) / lengths.clamp(min=1),
            f"same {name}: events ago": ago.float().masked_fill(last < 0, torch.nan),
        }
        if (ids := batch.sequence[comparison.event]).dim() == equal.dim():
            columns[f"kinds of {name}"] = _distinct(ids)
        for window in RECENT:
            recent = position >= lengths.unsqueeze(-1) - window
            columns[f"same {name}: of the last {window}"] = (equal & recent).sum(dim=-1)
        for field in self.events:
            ids = batch.sequence[field.name]
            columns[f"same {name}: last one's {field.name}"] = _value_at(ids, last)
            rows = self.schema.tables[field.table]
            for value in range(FIRST_ID, rows if rows <= FEW_VALUES else 0):
                columns[f"same {name}: with {field.name} {value}"] = (equal & (ids == value)).sum(dim=-1)
        return columns


def count_ids(counts: Tensor, ids: Tensor) -> None:
    """Adds the occurrences of ``ids`` (batch,) to ``counts`` (rows,), in place."""
    counts += torch.bincount(ids.long(), minlength=len(counts)).to(counts.dtype)


def _value_at(ids: Tensor, position: Tensor) -> Tensor:
    """ids (replica, batch, length) at position (replica, batch): float32, NaN where the position is -1."""
    found = ids.gather(-1, position.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return found.float().masked_fill(position < 0, torch.nan)


def _distinct(ids: Tensor) -> Tensor:
    """The number of distinct ids of each history, without padding: (replica, batch, length) -> (replica, batch)."""
    ordered = ids.sort(dim=-1).values
    first_occurrence = ordered != F.pad(ordered, (1, 0), value=-1)[..., : ordered.shape[-1]]
    return (first_occurrence & (ordered > 0)).sum(dim=-1)


def _empty_batch(schema: Schema) -> Batch:
    """A batch of one sample with an empty history. Its features have the same names as any other batch's."""
    fields = (*schema.sequence, *schema.matches)
    return Batch(
        static={name: ids for field in schema.static for name, ids in _nothing(schema, field, 1, 1).items()},
        sequence={name: ids for field in fields for name, ids in _nothing(schema, field, 1, 1, 1).items()},
        lengths=torch.zeros(1, 1, dtype=torch.int64),
        labels=torch.zeros(1, 1),
    )


def _nothing(schema: Schema, field: Field, *shape: int) -> dict[str, Tensor]:
    """Ids of a field that are all padding, and their weights if it has any."""
    if not schema.weighted(field):
        return {field.name: torch.zeros(shape, dtype=torch.int64)}
    shape = (*shape, schema.cells[field.table].members)
    return {field.name: torch.zeros(shape, dtype=torch.int64), weights_of(field.name): torch.zeros(shape)}
