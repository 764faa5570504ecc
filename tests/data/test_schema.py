from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mdaf.data.schema import Field, Schema
from mdaf.data.store.event_store import EventStore


def test_a_schema_survives_json(synthetic_store: EventStore) -> None:
    schema = synthetic_store.schema
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_a_field_of_no_table_is_refused(synthetic_store: EventStore) -> None:
    with pytest.raises(ValueError, match="reads table 'colour'"):
        replace(synthetic_store.schema, static=(Field("shade", "colour"),))


def test_a_target_that_is_no_field_is_refused(synthetic_store: EventStore) -> None:
    with pytest.raises(ValueError, match="target maps 'item' to 'price'"):
        replace(synthetic_store.schema, target={"item": "price"})


def test_a_schema_without_fields_keeps_the_rest_and_compares_only_what_is_left() -> None:
    schema = Schema(
        tables={"item": 9, "hour": 5, "match": 4},
        static=(Field("item", "item"), Field("hour", "hour")),
        sequence=(Field("item", "item"), Field("hour", "hour")),
        matches=(Field("match_item", "match"),),
        target={"item": "item", "hour": "hour"},
        length=3,
    )
    less = schema.without(["hour", "match_item"])
    assert [field.name for field in (*less.static, *less.sequence, *less.matches)] == ["item", "item"]
    assert less.target == {"item": "item"}
    assert schema.without([]) == schema
    with pytest.raises(ValueError, match=r"^hours is no field of the data, which has hour, item, match_item$"):
        schema.without(["hours"])
