"""Dataclasses to JSON and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from mdaf.multirun.analysis.report_data.json_form import from_json, to_json


@dataclass(frozen=True)
class Part:
    """A part."""

    name: str
    ends: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Whole:
    """With all that a report has."""

    parts: list[Part]
    by_name: dict[str, Part]
    best: Part | None
    anything: Any
    eligible: bool = True
    failed: dict[str, list[int]] | None = None
    others: list[str] = field(default_factory=list)
    from_: list[str]


ONE = Part("one", (0.1, 0.2))
WHOLE = Whole(parts=[ONE, Part("two", None)], by_name={"one": ONE}, best=None, anything=[1, {"x": None}], from_=["a"])
CONTENT = {
    "parts": [{"name": "one", "ends": [0.1, 0.2]}, {"name": "two", "ends": None}],
    "by_name": {"one": {"name": "one", "ends": [0.1, 0.2]}},
    "best": None,
    "anything": [1, {"x": None}],
    "eligible": True,
    "others": [],
    "from": ["a"],
}


def test_a_dataclass_and_its_json_are_the_same_there_and_back() -> None:
    assert to_json(WHOLE) == CONTENT
    assert from_json(Whole, CONTENT) == WHOLE


def test_a_key_of_a_later_version_is_ignored_and_one_that_an_older_one_had_not_takes_its_default() -> None:
    older = {key: value for key, value in CONTENT.items() if key not in ("eligible", "others")}
    assert from_json(Whole, older | {"later": 1}) == WHOLE


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"parts": [{"name": "one"}]}, KeyError, "ends"),
        ({"parts": "one"}, TypeError, "expected a list, found str"),
        ({"best": 3}, TypeError, "expected an object, found int"),
        ({"by_name": []}, TypeError, "expected an object, found list"),
    ],
)
def test_what_is_of_another_form_is_refused(change: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        from_json(Whole, CONTENT | change)
