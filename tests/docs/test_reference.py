"""The reference pages are what the schemas and the parsers say, and every config key has a sentence."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from types import ModuleType

import pytest

from tests.processes import ROOT


def made(name: str) -> ModuleType:
    """A module of docs/making, which is no package."""
    sys.path.insert(0, str(ROOT / "docs/making"))
    try:
        return import_module(name)
    finally:
        sys.path.pop(0)


def test_every_config_key_is_documented_by_a_sentence_of_its_schema() -> None:
    keys = [key for section in made("config_page").all_keys().values() for key in section]
    assert len(keys) > 250
    without = sorted(
        {f"{key.owner}: a line with ``{key.path.rpartition('.')[2]}``" for key in keys if not key.sentence}
    )
    assert without == [], "write what the key does into the docstring of its dataclass"


@pytest.mark.parametrize(
    ("page", "line"),
    [
        ("config", "| `training.epochs` | whole number, >= 1 | `5` | Number of passes over the training rows. |"),
        ("config", "| `sweep.max_failures` | number or null, >= 1 | `3` |"),
        ("commands", "| `--top K` | How many trials, or points of a race. | `1` |"),
        ("commands", "### mdaf-data inspect"),
    ],
)
def test_a_page_of_the_reference_is_what_schemas_and_parsers_say(page: str, line: str) -> None:
    text = (ROOT / f"docs/reference/{page}.md").read_text()
    assert text == made(f"{page}_page").page(), "type: make reference"
    assert line in text


def test_every_public_python_name_is_on_its_page_of_the_reference() -> None:
    stable = (ROOT / "docs/api.md").read_text().partition("## Python names")[2].partition("\n## ")[0]
    names = re.findall(r"`(mdaf\.[\w.]+)`", stable)
    shown = re.findall(r"^::: (.*)$", (ROOT / "docs/reference/python.md").read_text(), re.M)
    assert len(names) > 10
    assert sorted(set(names) - set(shown)) == []
