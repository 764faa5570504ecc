"""Counts, recencies and popularity: what a sample says without any embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mdaf.data.schema import FIRST_ID, MATCH_EQUALS, Batch, Field, Schema

SMALL_TABLE = 64  # rows up to which an id is a feature as it is; above, its popularity stands for it
FEW_VALUES = 16  # rows up to which events are counted by each value of a field
RECENT = (1, 5, 10, 20)  # windows, in events, of the counts


@dataclass(frozen=True)
class _Comparison:
    """Which events equal the candidate in one thing: by a match field, or by the ids where there is none."""

    name: str
    match: str | None
    event: str
    static: str

    def equal(self, batch: Batch) -> Tensor:
        """(replica, batch, length) bool; never true of padding or of unknown ids."""
        if self.match is not None:
            return batch.sequence[self.match] == MATCH_EQUALS
        ids = batch.sequence[self.event]
        return (ids >= FIRST_ID) & (ids == batch.static[self.static].unsqueeze(-1))


class Features:
    """Batches to features, by a schema alone.

    Of the sample: the ids of small tables, the popularity of others. Of the history: its length and what its last event
    was. Of each thing that events and candidate share: how many kinds of it the history holds, how many events equal
    the candidate in it (all, the last few, with each value of what an event alone has), how many events ago the last
    one did, and what that one was (how long ago, which behaviour).

    ``names``    of the features, in order.
    ``counted``  static fields whose ids are counted in training, for their popularity.
    """

    def __init__(self, schema: Schema) -> None:
        rows = schema.tables
        self.schema = schema
        matches = {field.name for field in schema.matches}
        self.compared = tuple(
            _Comparison(event, f"match_{event}" if f"match_{event}" in matches else None, event, static)
            for event, static in schema.target.items()
        )
        self.plain: tuple[Field, ...] = tuple(f for f in schema.static if rows[f.table] <= SMALL_TABLE)
        self.counted: tuple[Field, ...] = tuple(f for f in schema.static if rows[f.table] > SMALL_TABLE)
        self.events: tuple[Field, ...] = tuple(f for f in schema.sequence if f.name not in schema.target)
        self.names = tuple(self._columns(_empty_batch(schema), {f.name: torch.zeros(1, 1) for f in self.counted}))

    def __call__(self, batch: Batch, popularity: Mapping[str, Tensor]) -> Tensor:
        """(replica, batch, feature) float32, NaN where a feature does not apply.

        ``popularity``: of each of ``counted``, how often each id occurs in training, (replica, rows).
        """
        columns = self._columns(batch, popularity)
        return torch.stack([column.float() for column in columns.values()], dim=-1)

    def _columns(self, batch: Batch, popularity: Mapping[str, Tensor]) -> dict[str, Tensor]:
        columns = {f"{field.name}": batch.static[field.name] for field in self.plain}
        for field in self.counted:
            ids = batch.static[field.name].long()
            known = torch.take_along_dim(popularity[field.name], ids, dim=1)
            columns[f"{field.name} popularity"] = known.masked_fill(ids < FIRST_ID, torch.nan)
        columns["history length"] = batch.lengths
        last = batch.lengths - 1
        for field in self.events:
            columns[f"last event's {field.name}"] = _at(batch.sequence[field.name], last)
        for comparison in self.compared:
            columns |= self._compared_columns(comparison, batch)
        return columns

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
            f"kinds of {name}": _distinct(batch.sequence[comparison.event]),
        }
        for window in RECENT:
            recent = position >= lengths.unsqueeze(-1) - window
            columns[f"same {name}: of the last {window}"] = (equal & recent).sum(dim=-1)
        for field in self.events:
            ids = batch.sequence[field.name]
            columns[f"same {name}: last one's {field.name}"] = _at(ids, last)
            rows = self.schema.tables[field.table]
            for value in range(FIRST_ID, rows if rows <= FEW_VALUES else 0):
                columns[f"same {name}: with {field.name} {value}"] = (equal & (ids == value)).sum(dim=-1)
        return columns


def count_ids(counts: Tensor, ids: Tensor) -> None:
    """Adds the occurrences of ``ids`` (batch,) to ``counts`` (rows,), in place."""
    counts += torch.bincount(ids.long(), minlength=len(counts)).to(counts.dtype)


def _at(ids: Tensor, position: Tensor) -> Tensor:
    """ids (replica, batch, length) at position (replica, batch), float32; NaN where it is -1."""
    found = torch.take_along_dim(ids, position.clamp(min=0).unsqueeze(-1), dim=-1).squeeze(-1)
    return found.float().masked_fill(position < 0, torch.nan)


def _distinct(ids: Tensor) -> Tensor:
    """How many ids other than padding each history holds: (replica, batch, length) -> (replica, batch)."""
    ordered = ids.sort(dim=-1).values
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    return (fresh & (ordered > 0)).sum(dim=-1)


def _empty_batch(schema: Schema) -> Batch:
    """One sample with an empty history, for the names of its features."""
    fields = (*schema.sequence, *schema.matches)
    return Batch(
        static={field.name: torch.zeros(1, 1, dtype=torch.int64) for field in schema.static},
        sequence={field.name: torch.zeros(1, 1, 1, dtype=torch.int64) for field in fields},
        lengths=torch.zeros(1, 1, dtype=torch.int64),
        labels=torch.zeros(1, 1),
    )
