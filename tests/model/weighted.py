"""A schema whose fields are numbers and lists beside plain ids, and random batches of it."""

from __future__ import annotations

from dataclasses import replace

import torch

from mdaf.data.schema import BUCKETS, LIST, UNKNOWN, VECTOR, Batch, Cells, Field, weights_of
from tests.model.samples import SCHEMA, batch

MEMBERS = 3
WEIGHTED = replace(
    SCHEMA,
    tables={**SCHEMA.tables, "price": 3, "genres": 9, "dwell": 3, "tags": 12, "site": 6, "age": 7},
    static=(*SCHEMA.static, *(Field(name, name) for name in ("price", "genres", "site", "age"))),
    sequence=(*SCHEMA.sequence, *(Field(name, name) for name in ("price", "genres", "dwell", "tags"))),
    matches=(*SCHEMA.matches, Field("match_genres", "match")),
    target={**SCHEMA.target, "price": "price", "genres": "genres"},
    cells={
        "price": Cells(VECTOR),
        "dwell": Cells(VECTOR),
        "genres": Cells(LIST, MEMBERS),
        "tags": Cells(LIST, 2),
        "site": Cells(LIST, 2),
        "age": Cells(BUCKETS),
    },
)


def weighted_batch(lengths: list[list[int]], seed: int = 0) -> Batch:
    """As ``samples.batch``, of ``WEIGHTED``."""
    plain, draw = batch(lengths, seed), torch.Generator().manual_seed(seed + 1)
    valid = torch.arange(SCHEMA.length) < plain.lengths[..., None]
    static, sequence = dict(plain.static), dict(plain.sequence)
    sequence["match_genres"] = sequence["match_item"].clone()
    static["age"] = torch.randint(UNKNOWN, WEIGHTED.tables["age"], plain.lengths.shape, generator=draw)
    for fields, found, real in (
        (WEIGHTED.static, static, torch.ones_like(plain.lengths, dtype=torch.bool)),
        (WEIGHTED.sequence, sequence, valid),
    ):
        for field in filter(WEIGHTED.weighted, fields):
            members = WEIGHTED.cells[field.table].members
            shape = (*real.shape, members)
            ids = torch.randint(UNKNOWN, WEIGHTED.tables[field.table], shape, generator=draw)
            used = torch.arange(members) < torch.randint(1, members + 1, (*real.shape, 1), generator=draw)
            used = used & real[..., None]
            found[field.name] = ids * used
            found[weights_of(field.name)] = torch.randn(shape, generator=draw) * used
    return replace(plain, static=static, sequence=sequence)
