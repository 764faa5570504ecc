"""What becomes of a value of JSON lines does not depend on the lines beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mdaf.data.reading.cells import rounded
from mdaf.data.reading.formats.json_lines import JsonLines

VALUES = [
    1e-7,
    -0.25,
    123456789.123456789,
    1e15,
    2**60 + 1,
    True,
    "1.0",
    ["a", 1e-7, None, True],
    {"b": 1.0},
    [["a"], "b"],
]


KEY = "x (ü) #1-*"


def read(path: Path, *lines: str) -> list[str | None]:
    path.write_text("\n".join(lines))
    return [text for block in JsonLines(path, [KEY], "x").frames(1 << 20) for text in block.frame[KEY]]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_a_value_is_read_alike_beside_sound_and_damaged_lines(tmp_path: Path, value: object) -> None:
    line = json.dumps({KEY: value})
    head = [json.dumps({KEY: "word", "pad": "-" * (1 << 20)})]  # what a key holds is guessed from the first megabyte
    alone, late, damaged = (
        read(tmp_path / "a.jsonl", *lines) for lines in ([line], [*head, line], [*head, line, '{"x": 1'])
    )
    assert alone[0] == late[1] == damaged[1]
    if isinstance(value, list):
        assert alone[0] in ("a|0.0000001|true", "a|b")


def test_a_decimal_that_is_too_large_to_tell_ids_apart_is_known_as_such(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 9007199254740993}\n{"x": 9007199254740993.0}\n{"x": 1.5e18}\n{"x": 5e3}\n')
    (block,) = JsonLines(path, ["x"], "x").frames(1 << 20)
    assert block.frame.select(rounded("x"))["x"].to_list() == [False, True, True, False]
