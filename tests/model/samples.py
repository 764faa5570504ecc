"""A small schema and random batches of it, for tests of models."""

from __future__ import annotations

from typing import Any

import torch

from mdaf.data.schema import FIRST_ID, MATCH_DIFFERS, MATCH_EQUALS, MATCH_ROWS, Batch, Field, Schema
from mdaf.model.mdaf import MDAF

SCHEMA = Schema(
    tables={"user": 12, "item": 30, "category": 8, "hour": 26, "behaviour": 6, "gap": 20, "match": MATCH_ROWS},
    static=(Field("user", "user"), Field("item", "item"), Field("category", "category"), Field("hour", "hour")),
    sequence=(
        Field("item", "item"),
        Field("category", "category"),
        Field("behaviour", "behaviour"),
        Field("gap", "gap"),
    ),
    matches=(Field("match_item", "match"), Field("match_category", "match")),
    target={"item": "item", "category": "category"},
    length=6,
)


def batch(lengths: list[list[int]], seed: int = 0, length: int = SCHEMA.length) -> Batch:
    """Random samples with histories of the given lengths (replica, batch), padded to ``length``."""
    draw = torch.Generator().manual_seed(seed)
    counts = torch.tensor(lengths)
    valid = torch.arange(length) < counts[..., None]

    def ids(field: Field, shape: torch.Size) -> torch.Tensor:
        return torch.randint(FIRST_ID, SCHEMA.tables[field.table], shape, generator=draw)

    sequence = {field.name: ids(field, valid.shape) * valid for field in SCHEMA.sequence}
    for field in SCHEMA.matches:
        sequence[field.name] = torch.randint(MATCH_DIFFERS, MATCH_EQUALS + 1, valid.shape, generator=draw) * valid
    return Batch(
        static={field.name: ids(field, counts.shape) for field in SCHEMA.static},
        sequence=sequence,
        lengths=counts,
        labels=torch.randint(0, 2, counts.shape, generator=draw).float(),
    )


def mdaf(seed: int = 0, **changes: Any) -> MDAF:
    """A small MDAF-Mamba; ``changes`` replace arguments of the model or, where they are named so, of a branch."""
    arguments: dict[str, Any] = {
        "static": {"embedding": 4, "deep_layers": 2, "shallow_layers": 2},
        "sequence": {
            "kind": "mamba",
            "embedding": {"item": 8, "other": 4},
            "hidden": 16,
            "layers": 2,
            "state": 4,
            "conv": 4,
            "expand": 2,
            "pooling": "last",
            "target_aware": True,
            "match_features": True,
        },
        "fusion": "gate",
        "head": [8],
        "scan": "reference",
    }
    for name, value in changes.items():
        for branch in ("static", "sequence"):
            if name in arguments[branch]:
                arguments[branch][name] = value
                break
        else:
            arguments[name] = value
    torch.manual_seed(seed)
    model = MDAF(SCHEMA, **arguments)
    with torch.no_grad():  # embeddings start so small that differences would drown in rounding
        for name, parameter in model.named_parameters():
            if "tables" in name:
                parameter[:, 1:] *= 50
    return model
