"""The structure of samples and batches. Models may import only this module of ``data``.

A *sample* is one candidate shown to one user at one time. It has static fields (of the candidate, the user and the
moment) and a history: the user's last events strictly before it. All fields are ids into named embedding tables;
fields that share a table share its ids. A cell of a *weighted* field, which is a number or a list of values, reads
several rows of its table, each with a weight: the field's vector is the sum of weight * row.

Axes, everywhere: ``replica`` (models trained in lock-step), ``batch`` (samples), ``length`` (events of a history).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch

PADDING = 0  # fills a history after its last event, and has no other meaning in any table
UNKNOWN = 1  # an id that does not occur in training, a missing value, or a field that does not apply
FIRST_ID = 2  # the first id of a value

MATCH_DIFFERS = 2  # an event's field differs from the target's
MATCH_EQUALS = 3  # an event's field equals the target's
MATCH_ROWS = 4  # rows of a table of match ids: padding, unknown, differs, equals

BUCKETS = "buckets"  # a number that reads the row of its bucket; ids of buckets ascend with the number
VECTOR = "vector"  # a number that reads the row ``FIRST_ID``, times its standardized value
LIST = "list"  # several values, each of which reads a row of its own


def weights_of(name: str) -> str:
    """The key under which a batch has the weights of the weighted field ``name``. No field is called like that."""
    return f"{name}/weights"


@dataclass(frozen=True)
class Field:
    """A field and the embedding table that its ids index."""

    name: str
    table: str


@dataclass(frozen=True)
class Cells:
    """What the cells of a numeric or multi-valued field are.

    ``kind``     ``BUCKETS``, ``VECTOR`` or ``LIST``.
    ``members``  how many rows of the table a cell reads at most; 1 unless it is a ``LIST``.
    """

    kind: str
    members: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for a kind that does not exist, and for no or several members of a number."""
        if self.kind not in (BUCKETS, VECTOR, LIST):
            raise ValueError(f"cells are of kind {self.kind!r}; kinds are {BUCKETS}, {VECTOR}, {LIST}")
        if type(self.members) is not int or self.members < 1 or (self.members > 1 and self.kind != LIST):
            raise ValueError(f"cells of kind {self.kind} have {self.members!r} members")

    @property
    def weighted(self) -> bool:
        """Whether a cell's rows have weights. The bucket of a number is a plain id."""
        return self.kind != BUCKETS


@dataclass(frozen=True)
class Schema:
    """The fields of a sample.

    ``tables``    the rows of each embedding table, including the two reserved ids.
    ``static``    the fields of the sample itself.
    ``sequence``  the fields of an event in the history.
    ``matches``   the match fields of an event: each says whether a field of the event equals the candidate's
                  (``MATCH_DIFFERS`` or ``MATCH_EQUALS``). They compare raw values, so two unknown items still differ.
    ``target``    sequence field -> the static field with the same property of the candidate.
    ``length``    the length of the longest history, in events.
    ``cells``     table -> what its cells are, for the tables of numeric and multi-valued fields; all others have one id
                  a cell.
    """

    tables: Mapping[str, int]
    static: tuple[Field, ...]
    sequence: tuple[Field, ...]
    matches: tuple[Field, ...]
    target: Mapping[str, str]
    length: int
    cells: Mapping[str, Cells] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError if a field has no table, or if ``target`` names a field that does not exist."""
        for f in (*self.static, *self.sequence, *self.matches):
            if f.table not in self.tables:
                raise ValueError(f"field {f.name!r} reads table {f.table!r}; tables are {sorted(self.tables)}")
        static = {f.name for f in self.static}
        events = {f.name for f in self.sequence}
        for event_field, static_field in self.target.items():
            if event_field not in events or static_field not in static:
                raise ValueError(f"target maps {event_field!r} to {static_field!r}; one of them is not a field")
        if unknown := sorted(set(self.cells) - set(self.tables)):
            raise ValueError(f"cells name the table {unknown[0]!r}; tables are {sorted(self.tables)}")

    def weighted(self, field: Field) -> bool:
        """Whether a cell of the field reads several rows, or one with a weight."""
        return field.table in self.cells and self.cells[field.table].weighted

    def without(self, names: Collection[str]) -> Schema:
        """This schema without the fields of these names: static, sequence and match fields.

        Raises ValueError for names that are not fields.
        """
        fields = {field.name for field in (*self.static, *self.sequence, *self.matches)}
        if unknown := sorted(set(names) - fields):
            raise ValueError(f"{', '.join(unknown)} is no field of the data, which has {', '.join(sorted(fields))}")

        def kept(fields: tuple[Field, ...]) -> tuple[Field, ...]:
            return tuple(field for field in fields if field.name not in names)

        target = {event: static for event, static in self.target.items() if not {event, static} & set(names)}
        return replace(
            self, static=kept(self.static), sequence=kept(self.sequence), matches=kept(self.matches), target=target
        )

    def to_json(self) -> dict[str, object]:
        """This schema in types that JSON has."""
        return {
            "tables": dict(self.tables),
            "static": [[f.name, f.table] for f in self.static],
            "sequence": [[f.name, f.table] for f in self.sequence],
            "matches": [[f.name, f.table] for f in self.matches],
            "target": dict(self.target),
            "length": self.length,
            **({"cells": {table: [c.kind, c.members] for table, c in self.cells.items()}} if self.cells else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping) -> Schema:
        """The schema from what ``to_json`` returned."""

        def fields(name: str) -> tuple[Field, ...]:
            return tuple(Field(*pair) for pair in data[name])

        return cls(
            tables=dict(data["tables"]),
            static=fields("static"),
            sequence=fields("sequence"),
            matches=fields("matches"),
            target=dict(data["target"]),
            length=int(data["length"]),
            cells={table: Cells(*pair) for table, pair in data.get("cells", {}).items()},
        )


@dataclass(frozen=True)
class Batch:
    """Samples gathered on one device.

    ``static``    field -> ids, (replica, batch) integer.
    ``sequence``  field -> ids, (replica, batch, length) integer, including match fields. The oldest event is first, and
                  ``PADDING`` follows the last event. ``length`` is at most ``Schema.length``.

    The ids of a weighted field have one more axis, for the rows that a cell reads: (replica, batch, member) and
    (replica, batch, length, member). Beside them, under ``weights_of(field)``, both mappings have their weights,
    float32 of the same shape. Members that a cell lacks are ``PADDING`` with weight 0.

    ``lengths``   the number of events of each history, (replica, batch) int64, may be 0.
    ``labels``    (replica, batch) float32, 0 or 1.
    """

    static: Mapping[str, torch.Tensor]
    sequence: Mapping[str, torch.Tensor]
    lengths: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return self.labels.shape[-1]

    def replica(self, k: int) -> Batch:
        """Replica ``k``'s samples without the replica axis, padded to its own longest history: as in a run alone."""
        longest = max(1, int(self.lengths[k].max())) if len(self) else 1
        return Batch(
            static={name: ids[k] for name, ids in self.static.items()},
            sequence={name: ids[k][:, :longest] for name, ids in self.sequence.items()},
            lengths=self.lengths[k],
            labels=self.labels[k],
        )
