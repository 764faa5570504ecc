"""Features of numbers and of lists, for ``mdaf.model.layers.features``."""

from __future__ import annotations

import torch
from torch import Tensor

from mdaf.data.schema import BUCKETS, FIRST_ID, LIST, VECTOR, Batch, Field, Schema, weights_of

LISTED = 64  # up to so many rows, whether a sample's list has a member is a feature, for each of them
LISTED_OF_EVENTS = 16  # the same for the lists of events


class CellFeatures:
    """Computes features of the numeric and multi-valued fields of a schema.

    Of a sample: each number, how many known members each list has, and which of them if there are few. Of the history:
    the last and the mean number, and how far the candidate's is from the mean; how many members of a list events share
    with the candidate, and in which share of the events each member is, if there are few.
    """

    def __init__(self, schema: Schema) -> None:
        self._rows = schema.tables
        self._target = schema.target
        self._kinds = {table: cells.kind for table, cells in schema.cells.items()}
        self._static = [field for field in schema.static if field.table in self._kinds]
        self._events = [field for field in schema.sequence if field.table in self._kinds]

    def columns(self, batch: Batch) -> dict[str, Tensor]:
        """The features by name, (replica, batch) each; NaN where one does not apply."""
        columns: dict[str, Tensor] = {}
        for field in self._static:
            if self._kinds[field.table] == LIST:
                columns |= self._list(field, batch)
            elif self._kinds[field.table] == VECTOR:  # the id of a bucket is a feature already
                columns[field.name] = self._numbers(field, batch, of_events=False)
        for field in self._events:
            columns |= self._lists(field, batch) if self._kinds[field.table] == LIST else self._number(field, batch)
        return columns

    def _numbers(self, field: Field, batch: Batch, of_events: bool) -> Tensor:
        """The standardized numbers, or those of their buckets; NaN where missing: (replica, batch[, length])."""
        found = batch.sequence if of_events else batch.static
        ids = found[field.name]
        if self._kinds[field.table] == BUCKETS:
            return ids.float().masked_fill(ids < FIRST_ID, torch.nan)
        return found[weights_of(field.name)][..., 0].masked_fill(ids[..., 0] < FIRST_ID, torch.nan)

    def _number(self, field: Field, batch: Batch) -> dict[str, Tensor]:
        name, numbers = field.name, self._numbers(field, batch, of_events=True)
        mean = numbers.masked_fill(~_valid(numbers, batch.lengths), torch.nan).nanmean(dim=-1)
        columns = {f"last number of {name}": _at_end(numbers, batch.lengths), f"mean of {name}": mean}
        if name in self._target:
            candidate = Field(self._target[name], field.table)
            columns[f"{name} less its mean"] = self._numbers(candidate, batch, of_events=False) - mean
        return columns

    def _list(self, field: Field, batch: Batch) -> dict[str, Tensor]:
        ids = batch.static[field.name]
        rows = self._rows[field.table]
        columns = {f"{field.name}: members": (ids >= FIRST_ID).sum(dim=-1)}
        for member in range(FIRST_ID, rows if rows <= LISTED else 0):
            columns[f"{field.name}: has {member}"] = (ids == member).any(dim=-1)
        return columns

    def _lists(self, field: Field, batch: Batch) -> dict[str, Tensor]:
        name, ids, lengths = field.name, batch.sequence[field.name], batch.lengths
        rows, some = self._rows[field.table], lengths.clamp(min=1)
        valid = _valid(ids[..., 0], lengths)
        columns: dict[str, Tensor] = {}
        if name in self._target:
            shared = (_shared(ids, batch.static[self._target[name]]) * valid).float()
            columns[f"shared {name}: mean"] = shared.sum(dim=-1) / some
            columns[f"shared {name}: most"] = shared.amax(dim=-1)
            columns[f"shared {name}: last event"] = _at_end(shared, lengths)
        for member in range(FIRST_ID, rows if rows <= LISTED_OF_EVENTS else 0):
            has = ((ids == member).any(dim=-1) & valid).float()
            columns[f"events with {name} {member}"] = has.sum(dim=-1) / some
            columns[f"last event has {name} {member}"] = _at_end(has, lengths)
        return columns


def _shared(ids: Tensor, candidate: Tensor) -> Tensor:
    """How many known members lists share with the candidate's: ids (replica, batch[, length], member)."""
    shared = torch.zeros(ids.shape[:-1], dtype=torch.int64, device=ids.device)
    for member in candidate.unbind(dim=-1):
        member = member[..., None, None]
        shared += ((ids == member) & (member >= FIRST_ID)).any(dim=-1)
    return shared


def _valid(events: Tensor, lengths: Tensor) -> Tensor:
    """Which events (replica, batch, length) are in the history."""
    return torch.arange(events.shape[-1], device=events.device) < lengths.unsqueeze(-1)


def _at_end(events: Tensor, lengths: Tensor) -> Tensor:
    """The last event's value, of (replica, batch, length); NaN without one."""
    found = events.gather(-1, (lengths - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return found.masked_fill(lengths < 1, torch.nan)
