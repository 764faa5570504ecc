"""Features of numbers and lists by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mdaf.data.schema import BUCKETS, LIST, UNKNOWN, VECTOR, Batch, Cells, Field, Schema
from mdaf.model.layers.features import Features

SCHEMA = Schema(
    tables={"age": 5, "price": 3, "genres": 6, "dwell": 12},
    static=(Field("age", "age"), Field("price", "price"), Field("genres", "genres")),
    sequence=(Field("price", "price"), Field("genres", "genres"), Field("dwell", "dwell")),
    matches=(),
    target={"price": "price", "genres": "genres"},
    length=3,
    cells={"age": Cells(BUCKETS), "price": Cells(VECTOR), "genres": Cells(LIST, 2), "dwell": Cells(BUCKETS)},
)
NONE = [0, 0]
# One sample with two events, the first of which has no price, and one without a history, a price and genres.
BATCH = Batch(
    static={
        "age": torch.tensor([[4, UNKNOWN]]),
        "price": torch.tensor([[[2], [UNKNOWN]]]),
        "price/weights": torch.tensor([[[0.5], [1.0]]]),
        "genres": torch.tensor([[[2, 5], [UNKNOWN, 0]]]),
        "genres/weights": torch.tensor([[[0.5, 0.5], [1.0, 0.0]]]),
    },
    sequence={
        "price": torch.tensor([[[[UNKNOWN], [2], [0]], [[0], [0], [0]]]]),
        "price/weights": torch.tensor([[[[1.0], [-1.5], [0.0]], [[0.0], [0.0], [0.0]]]]),
        "genres": torch.tensor([[[[5, 2], [3, UNKNOWN], NONE], [NONE, NONE, NONE]]]),
        "genres/weights": torch.tensor([[[[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]], [[0.0, 0.0]] * 3]]),
        "dwell": torch.tensor([[[10, 4, 0], [0, 0, 0]]]),
    },
    lengths=torch.tensor([[2, 0]]),
    labels=torch.tensor([[1.0, 0.0]]),
)


def row(sample: int) -> dict[str, float]:
    features = Features(SCHEMA)
    assert features.counted == ()
    return dict(zip(features.names, features(BATCH, {})[0, sample].tolist(), strict=True))


def test_numbers_and_lists_of_candidate_and_events() -> None:
    found = row(0)
    expected = {
        "age": 4,
        "price": 0.5,
        "last number of price": -1.5,
        "mean of price": -1.5,  # of the events that have one
        "price less its mean": 2.0,
        "genres: members": 2,
        "genres: has 2": 1,
        "genres: has 3": 0,
        "shared genres: mean": 1.0,
        "shared genres: most": 2,
        "shared genres: last event": 0,
        "events with genres 3": 0.5,
        "last event has genres 3": 1,
        "last event has genres 5": 0,
        "last number of dwell": 4,
        "mean of dwell": 7,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_what_a_sample_lacks_is_missing() -> None:
    found = row(1)
    for name in ("price", "mean of price", "last number of dwell", "shared genres: last event"):
        assert math.isnan(found[name]), name
    assert found["genres: members"] == found["shared genres: most"] == found["events with genres 2"] == 0
