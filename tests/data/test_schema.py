from __future__ import annotations

import json
from dataclasses import replace

import pytest

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
