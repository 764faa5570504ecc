"""The pages are in plain English: none has private words, or phrases that need a second reading."""

from __future__ import annotations

import re

import pytest

from tests.processes import ROOT

CODE = re.compile(r"```.*?```|`[^`]*`", re.S)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
INSTEAD = {
    "joins the space": "adds a parameter to the search space",
    "flatters itself": "is optimistic",
    "is what comes next": "the next step does this",
    "need as many directions": "give one direction for each",
    "one file with two names": "is a hard link to",
    "took Python from each other": "competed for the GIL",
    "one that jumps": "a clock that jumps",
    "was waited for": "synchronized",
    "newest": "most recent",
    "underway": "running",
    "follower": "a replica that shares its batch",
    "in the place of": "instead of",
}


@pytest.mark.parametrize("phrase", INSTEAD)
def test_a_phrase_that_needs_a_second_reading_is_on_no_page(phrase: str) -> None:
    found = [str(page.relative_to(ROOT)) for page in PAGES if phrase.lower() in prose(page.read_text())]
    assert found == [], f"write instead: {INSTEAD[phrase]}"


def prose(page: str) -> str:
    """The words of a page without its code, on one line."""
    return " ".join(CODE.sub(" ", page).split()).lower()


def test_code_is_not_prose() -> None:
    assert prose("Type\n`resume=newest` to\n```\nnewest\n```\ngo on.") == "type to go on."
