"""What a sample looks like: the only part of ``data`` that a model may know.

A *sample* is one candidate shown to one user at one time. It has static fields (of the candidate, the user and the
moment) and a history: the user's last events strictly before it. All fields are categorical ids into named embedding
tables; fields that share a table share its ids.

Axes, everywhere: ``replica`` (models trained in lock-step), ``batch`` (samples), ``length`` (events of a history).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch

PADDING = 0  # fills a history past its length; means nothing else, in any table
UNKNOWN = 1  # an id that training has not seen, a missing value, or a property that does not apply
FIRST_ID = 2  # the first id that names something

MATCH_DIFFERS = 2  # an event's field is not the target's
MATCH_EQUALS = 3  # an event's field equals the target's
MATCH_ROWS = 4  # rows of a table of match ids: padding, unknown, differs, equals


@dataclass(frozen=True)
class Field:
    """A categorical field and the embedding table that its ids index."""

    name: str
    table: str


@dataclass(frozen=True)
class Schema:
    """The fields of a sample.

    ``tables``    rows of each embedding table, the two reserved ids included.
    ``static``    fields of the sample itself.
    ``sequence``  fields of an event of the history.
    ``matches``   fields of an event that say whether it equals the target (``MATCH_DIFFERS`` or ``MATCH_EQUALS``,
                  compared before ids are reduced to a vocabulary, so two unknown items still differ).
    ``target``    sequence field -> static field that holds the same thing of the candidate.
    ``length``    the longest history, in events.
    """

    tables: Mapping[str, int]
    static: tuple[Field, ...]
    sequence: tuple[Field, ...]
    matches: tuple[Field, ...]
    target: Mapping[str, str]
    length: int

    def __post_init__(self) -> None:
        """Refuses a schema whose parts do not fit together, with ValueError."""
        for field in (*self.static, *self.sequence, *self.matches):
            if field.table not in self.tables:
                raise ValueError(f"field {field.name!r} reads table {field.table!r}; tables are {sorted(self.tables)}")
        static = {field.name for field in self.static}
        events = {field.name for field in self.sequence}
        for event_field, static_field in self.target.items():
            if event_field not in events or static_field not in static:
                raise ValueError(f"target maps {event_field!r} to {static_field!r}; one of them is not a field")

    def without(self, names: Collection[str]) -> Schema:
        """This schema less the fields of these names, be they static, of events or matches; ValueError names others."""
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
        """This schema in plain types."""
        return {
            "tables": dict(self.tables),
            "static": [[f.name, f.table] for f in self.static],
            "sequence": [[f.name, f.table] for f in self.sequence],
            "matches": [[f.name, f.table] for f in self.matches],
            "target": dict(self.target),
            "length": self.length,
        }

    @classmethod
    def from_json(cls, plain: Mapping) -> Schema:
        """The schema that ``to_json`` wrote."""

        def fields(name: str) -> tuple[Field, ...]:
            return tuple(Field(*pair) for pair in plain[name])

        return cls(
            tables=dict(plain["tables"]),
            static=fields("static"),
            sequence=fields("sequence"),
            matches=fields("matches"),
            target=dict(plain["target"]),
            length=int(plain["length"]),
        )


@dataclass(frozen=True)
class Batch:
    """Samples gathered on one device.

    ``static``    field -> ids, (replica, batch) integer.
    ``sequence``  field -> ids, (replica, batch, length) integer, oldest event first, ``PADDING`` on the right;
                  match fields are among them. ``length`` is at most ``Schema.length``.
    ``lengths``   events of each history, (replica, batch) int64; 0 is allowed.
    ``labels``    (replica, batch) float32, 0 or 1.
    """

    static: Mapping[str, torch.Tensor]
    sequence: Mapping[str, torch.Tensor]
    lengths: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return self.labels.shape[1]
