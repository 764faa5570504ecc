"""docs/reliability.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CASE = re.compile(r"`(?:(tests/\S+)|(test_\w+\.py))::(test_\w+)`")


def test_every_fault_of_the_table_has_its_test() -> None:
    rows = [line for line in (ROOT / "docs/reliability.md").read_text().splitlines() if "::test_" in line]
    assert len(rows) >= 20
    for row in rows:
        found = CASE.search(row)
        assert found is not None, row
        file = ROOT / (found[1] or f"tests/sweeper/{found[2]}")
        assert f"def {found[3]}(" in file.read_text(), row
