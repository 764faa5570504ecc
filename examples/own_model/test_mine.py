"""What an author tests: the source by a log of three lines, the model by the project's own checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mine.source import Sessions

PAGES = [
    {"visitor": "a", "at": 10, "shown": [{"sku": "x", "shelf": "s"}, {"sku": "y", "shelf": "t"}], "clicked": "y"},
    {"visitor": "b", "at": 20, "shown": [{"sku": "x", "shelf": "s"}], "clicked": None},
]


def test_each_item_that_was_shown_is_a_row_and_the_clicked_one_a_positive(tmp_path: Path) -> None:
    file = tmp_path / "pages.jsonl"
    file.write_text("\n".join(json.dumps(page) for page in PAGES))
    source = Sessions(str(file), 5, 0, "2026-01-25", "2026-01-28", {}, 1, 0)
    assert source._rows().rows() == [("a", 10, "x", "s", 0), ("a", 10, "y", "t", 1), ("b", 20, "x", "s", 0)]


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data.length is 0; expected at least 1"):
        Sessions("pages.jsonl", 0, 0, "2026-01-25", "2026-01-28", {}, 1, 0)
