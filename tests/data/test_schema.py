from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from data.batches import DeviceStore
from data.schema import Field, Schema
from data.store import EventStore


def test_a_schema_survives_json(synthetic_store: EventStore) -> None:
    schema = synthetic_store.schema
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_a_field_of_no_table_is_refused(synthetic_store: EventStore) -> None:
    with pytest.raises(ValueError, match="reads table 'colour'"):
        replace(synthetic_store.schema, static=(Field("shade", "colour"),))


def test_a_target_that_is_no_field_is_refused(synthetic_store: EventStore) -> None:
    with pytest.raises(ValueError, match="target maps 'item' to 'price'"):
        replace(synthetic_store.schema, target={"item": "price"})


def test_the_pieces_of_a_batch_hold_its_samples_each_cut_to_its_longest_history(synthetic_store: EventStore) -> None:
    gathered = DeviceStore(synthetic_store, "cpu")
    rows = gathered.lengths("train").argsort()[None]
    batch = gathered.gather("train", rows)
    pieces = list(batch.split(150))
    assert [len(piece) for piece in pieces] == [150, 150, 150, 150, 100]
    assert torch.equal(torch.cat([piece.labels for piece in pieces], dim=1), batch.labels)
    for piece in pieces:
        assert piece.sequence["item"].shape[-1] == max(1, int(piece.lengths.max()))
