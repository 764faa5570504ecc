"""What trivial rules reach: computed once for a store, kept beside it, and what is said of a model below them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mdaf.data.inspecting import trivial_rules as module
from mdaf.data.inspecting.baselines import rule_aucs
from mdaf.data.inspecting.trivial_rules import FILE, TrivialRules, not_learning_yet, trivial_rules
from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.event_store import EventStore
from tests.sweeper.tiny import composed


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return prepare_config(composed(f"data.root={tmp_path}").data)


def test_they_are_those_of_inspect_and_are_computed_once(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    found = trivial_rules(store)
    assert found.aucs == {rule: by_split["validation"] for rule, by_split in rule_aucs(store, ("validation",)).items()}
    assert found.rows == len(store.samples["validation"])
    monkeypatch.setattr(module, "_computed", None)
    assert trivial_rules(store) == found  # read, not computed
    assert EventStore.open(store.folder, deep=True).data_hash == store.data_hash  # the store holds still


@pytest.mark.parametrize("content", ["", "{}", '{"format": 1, "data_hash": "other"}', "[]"])
def test_a_file_that_is_damaged_or_of_other_data_is_written_anew(store: EventStore, content: str) -> None:
    found = trivial_rules(store)
    (store.folder / FILE).write_text(content)
    assert trivial_rules(store) == found
    assert json.loads((store.folder / FILE).read_text())["data_hash"] == store.data_hash


def test_of_many_rows_a_part_is_taken_evenly(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = len(store.samples["validation"])
    monkeypatch.setattr(module, "blocks_of", lambda count: [slice(at, at + 10) for at in range(0, count - 9, 10)])
    monkeypatch.setattr(module, "MOST_BLOCKS", 8)
    assert trivial_rules(store).rows == 80 < rows


def test_a_rule_that_does_not_apply_is_named_with_the_reason() -> None:
    lines = TrivialRules({"popularity": 0.61}, 100).lines()
    assert lines[0] == "0.6100  popularity of the item"
    assert "-       recency of category: left out, events and candidates have no category in common" in lines
    assert TrivialRules({}, 100).best is None


def test_a_model_below_the_best_rule_is_not_learning_yet() -> None:
    said = "0.52, below 0.86 that recency of category reaches: not learning yet"
    assert not_learning_yet(0.5213, "category recency", 0.8614) == said
    assert not_learning_yet(0.8612, "category recency", 0.8614) == said.replace("0.52", "0.8612").replace(
        "0.86 ", "0.8614 "
    )
    assert not_learning_yet(0.8614, "category recency", 0.8614) is None
