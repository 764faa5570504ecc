"""The reference pages are what the schemas and the parsers say, and every config key has a sentence."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from tests.processes import ROOT


@pytest.fixture(scope="module")
def config_page() -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs/making"))
    try:
        import config_page
    finally:
        sys.path.pop(0)
    return config_page


def test_every_config_key_is_documented_by_a_sentence_of_its_schema(config_page: ModuleType) -> None:
    keys = [key for section in config_page.all_keys().values() for key in section]
    assert len(keys) > 250
    without = sorted(
        {f"{key.owner}: a line with ``{key.path.rpartition('.')[2]}``" for key in keys if not key.sentence}
    )
    assert without == [], "write what the key does into the docstring of its dataclass"


def test_the_page_of_config_keys_is_what_the_schemas_say(config_page: ModuleType) -> None:
    page = (ROOT / "docs/reference/config.md").read_text()
    assert page == config_page.page(), "type: make reference"
    assert "| `training.epochs` | whole number, >= 1 | `5` | Number of passes over the training rows. |" in page
    assert "`sweep.max_failures` | number or null, >= 1 | `3` |" in page
