"""The table of user attributes."""

from __future__ import annotations

from pathlib import Path

from mdaf.sweeper.hydra_ext.configs.sources import ORIGIN
from mdaf.sweeper.trials.attaching.artifacts import ARTIFACTS
from mdaf.sweeper.trials.user_attrs import TYPES, USER_ATTRIBUTES, as_markdown, complaint

DOCS = Path(__file__).parents[3] / "docs/reference/user-attributes.md"


def test_the_page_holds_the_table_of_user_attributes_as_the_code_has_it() -> None:
    assert as_markdown() in DOCS.read_text(), f"put this into {DOCS}:\n{as_markdown()}"


def test_every_user_attribute_is_in_the_table_once() -> None:
    names = [(attribute.of, attribute.name) for attribute in USER_ATTRIBUTES]
    assert len(set(names)) == len(names)
    assert {("study", ORIGIN), ("trial", ARTIFACTS)} <= set(names)


def test_a_trial_attribute_of_another_type_is_named_and_null_is_always_taken() -> None:
    for name in TYPES:
        assert complaint({name: None}) is None
        said = complaint({name: object()})
        assert said is not None
        assert name in said
