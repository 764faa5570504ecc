"""Every promise of the documentation, and every fault that it names, has a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/tested.md"
CASE = re.compile(r"`(?:(tests/\S+)|(test_\w+\.py))::(test_\w+)`")
PROMISES = "| what is promised | test |"


def assert_names_its_test(row: str) -> None:
    found = CASE.search(row)
    assert found is not None, row
    file = ROOT / (found[1] or f"tests/sweeper/{found[2]}")
    assert f"def {found[3]}(" in file.read_text(), row


def rows_below(heading: str, text: str) -> list[str]:
    """The rows of the table with this heading."""
    lines = text.partition(f"{heading}\n")[2].splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return lines[1:end]


def test_every_fault_of_the_table_has_its_test() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if "::test_" in line]
    assert len(rows) >= 20
    for row in rows:
        assert_names_its_test(row)


@pytest.mark.parametrize(
    "about", ["Sweeps and studies", "Clusters and databases", "Runs", "The verdict on another program"]
)
def test_every_promise_has_its_test(about: str) -> None:
    rows = rows_below(PROMISES, PAGE.read_text().partition(f"\n## {about}\n")[2])
    assert len(rows) >= 10
    for row in rows:
        assert_names_its_test(row)
