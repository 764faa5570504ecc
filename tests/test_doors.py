"""The pages for those who come new to the code name files that are there, and draw the imports as they are."""

from __future__ import annotations

import importlib
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = "benchmarks|conf|data|docs|examples|mdaf|model|multirun|sweeper|tests"
PATH = re.compile(
    rf"(?<![\w./-])((?:{FOLDERS})/[\w./-]*|[A-Z][A-Za-z]+\.md|pyproject\.toml|Makefile|LICENSE)(?=[\s`),:;|]|$)"
)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[\w-]+)?\)")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")],
    key=lambda page: page.relative_to(ROOT),
)

OF_OTHERS = ("lightning", "pytorch_lightning", "transformers")  # what a callback is for is installed by who uses it


def named_paths(page: Path) -> set[str]:
    """Paths from the root of the clone that a page names; of one with a placeholder, as model/NAME.py, its folder."""
    return {re.sub(r"/[^/]*NAME.*", "", path.rstrip(".")) for path in PATH.findall(page.read_text())}


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md", "docs/licences.md"])
def test_every_file_that_a_page_names_is_there(name: str) -> None:
    paths = named_paths(ROOT / name)
    assert len(paths) >= 5
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_every_link_of_every_page_leads_to_a_file() -> None:
    links = [(page, link) for page in PAGES for link in LINK.findall(page.read_text())]
    assert len(links) > 20
    assert [f"{page.relative_to(ROOT)}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_python_name_of_the_public_api_can_be_imported() -> None:
    section = (ROOT / "docs/api.md").read_text().partition("## Python names")[2].partition("\n## ")[0]
    names = re.findall(r"`(mdaf(?:\.\w+)+\.[A-Za-z]\w*)`", section)
    assert len(names) >= 6
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            assert hasattr(importlib.import_module(module), attribute), name
        except ModuleNotFoundError as error:
            if error.name not in OF_OTHERS:
                raise


def test_the_pictures_of_the_architecture_are_those_of_the_code() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    draw = runpy.run_path(str(ROOT / "docs/making/draw_imports.py"))
    assert draw["drawn"](page) == page, "type: make picture"
    assert page.count("```mermaid") == 2
    assert "multirun --> sweeper" in page
