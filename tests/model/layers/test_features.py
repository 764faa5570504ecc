"""Counts, recencies and popularity by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mdaf.data.schema import MATCH_DIFFERS, MATCH_EQUALS, MATCH_ROWS, UNKNOWN, Batch, Field, Schema
from mdaf.model.layers.features import Features, count_ids

SCHEMA = Schema(
    tables={"item": 100, "category": 70, "hour": 26, "behaviour": 6, "match": MATCH_ROWS},
    static=(Field("item", "item"), Field("category", "category"), Field("hour", "hour")),
    sequence=(Field("item", "item"), Field("category", "category"), Field("behaviour", "behaviour")),
    matches=(Field("match_category", "match"),),
    target={"item": "item", "category": "category"},
    length=6,
)
E, D = MATCH_EQUALS, MATCH_DIFFERS
# A user with four events and one with none; the candidate is item 7 of category 5.
BATCH = Batch(
    static={
        "item": torch.tensor([[7, UNKNOWN]]),
        "category": torch.tensor([[5, 5]]),
        "hour": torch.tensor([[12, 3]]),
    },
    sequence={
        "item": torch.tensor([[[7, 8, 7, 9, 0, 0], [0] * 6]]),
        "category": torch.tensor([[[5, 6, 5, 8, 0, 0], [0] * 6]]),
        "behaviour": torch.tensor([[[3, 2, 2, 4, 0, 0], [0] * 6]]),
        "match_category": torch.tensor([[[E, D, E, D, 0, 0], [0] * 6]]),
    },
    lengths=torch.tensor([[4, 0]]),
    labels=torch.tensor([[1.0, 0.0]]),
)


def row(batch: Batch = BATCH, sample: int = 0, schema: Schema = SCHEMA) -> dict[str, float]:
    features = Features(schema)
    popularity = {field.name: torch.zeros(1, schema.tables[field.table]) for field in features.counted}
    for name, counts in popularity.items():
        count_ids(counts[0], torch.tensor([7, 5, 5]) if name == "category" else torch.tensor([7, 7, 7, UNKNOWN]))
    return dict(zip(features.names, features(batch, popularity)[0, sample].tolist(), strict=True))


def test_events_like_the_candidate_are_counted_in_windows_by_behaviour_and_by_how_long_ago() -> None:
    found = row()
    expected = {
        "history length": 4,
        "hour": 12,
        "last event's behaviour": 4,
        "same category: events": 2,
        "same category: share": 0.5,
        "same category: events ago": 1,
        "same category: of the last 1": 0,
        "same category: of the last 5": 2,
        "same category: last one's behaviour": 2,
        "same category: with behaviour 2": 1,
        "same category: with behaviour 3": 1,
        "same category: with behaviour 4": 0,
        "kinds of category": 3,
        "item popularity": 3,
        "category popularity": 2,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_what_is_compared_by_ids_where_there_is_no_match_field_is_counted_alike() -> None:
    found = row()
    assert (found["same item: events"], found["same item: events ago"]) == (2, 1)
    without = replace(SCHEMA, matches=())
    by_ids = row(schema=without)
    assert {name: value for name, value in by_ids.items() if "same" in name} == pytest.approx(
        {name: value for name, value in found.items() if "same" in name}, nan_ok=True
    )


def test_what_an_empty_history_cannot_say_is_missing_and_the_rest_is_zero() -> None:
    found = row(sample=1)
    missing = {name for name, value in found.items() if math.isnan(value)}
    assert missing == {
        "item popularity",
        "last event's behaviour",
        "same item: events ago",
        "same item: last one's behaviour",
        "same category: events ago",
        "same category: last one's behaviour",
    }
    assert all(found[name] == 0 for name in found if name.startswith("same") and name not in missing)


def test_padding_is_never_counted() -> None:
    longer = {name: torch.nn.functional.pad(ids, (0, 3)) for name, ids in BATCH.sequence.items()}
    assert row(replace(BATCH, sequence=longer)) == row()


def test_a_field_that_is_left_out_is_read_nowhere() -> None:
    assert not any("behaviour" in name for name in Features(SCHEMA.without(["behaviour"])).names)
