"""Text files of all spellings, read as rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mdaf.data.reading.formats.delimited import MORE, TextFile, spelled_out
from mdaf.errors import DataError


def rows_of(path: Path, content: bytes, separator: str = ",", size: int = 1 << 16) -> list[tuple]:
    path.write_bytes(content)
    file = TextFile(path, ["a", "b"], "the columns a, b", spelled_out(separator), header=True, quotes=True)
    file.check()
    return [row for lines in file.frames(size) for row in lines.frame.select("a", "b", MORE).iter_rows()]


@pytest.mark.parametrize("separator", ["\t", "\\t", "tab", "::", "|", "\\|", ";", " ", "\\x01", "\\x1f", "¦", ","])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_any_separator_line_end_and_byte_order_mark_is_read(
    tmp_path: Path, separator: str, newline: str, mark: str
) -> None:
    between = spelled_out(separator)
    lines = [["x", "a", "b"], ["1", f'"p{between}q"', "2"], ["3", "", '"4"'], ["5", '"6 ""7"""', "8"], ["9", "ü", "0"]]
    text = mark + newline.join(between.join(line) for line in lines)
    expected = [(f"p{between}q", "2", None), (None, "4", None), ('6 "7"', "8", None), ("ü", "0", None)]
    assert rows_of(tmp_path / "log.csv", text.encode(), separator) == expected
    assert rows_of(tmp_path / "log.csv", text.encode(), separator, size=1) == expected


@pytest.mark.parametrize("separator", ["", "\n", '"', "a\nb"])
def test_what_separates_nothing_is_refused(separator: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"data.separator={separator!r}")):
        spelled_out(separator)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\tb\n1\t2\n", "it is tab-separated, and was read as comma-separated"),
        (b"A,B\n1,2\n", "no column 'a'.*did you mean A?"),
        (b"a,b,b\n1,2,3\n", "several columns 'b'"),
        (bytes(100), "NUL bytes alone"),
        (b"a,b\r1,2\r", "carriage returns alone"),
        (b"a,b\n1,2\n" + b"x" * 200_000, "line 3 is longer than 65,536 bytes"),
        (b"a,b\n1,2\n" + bytes(200_000), "line 3 is longer than 65,536 bytes, NUL bytes among them"),
    ],
)
def test_a_file_that_cannot_be_meant_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        rows_of(tmp_path / "log.csv", content)
    assert "\n" not in str(caught.value)


def test_lines_keep_their_numbers_from_block_to_block(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"\n\na,b\n" + b"".join(b"%d,x\n" % number for number in range(4, 40)))
    file = TextFile(path, ["a", "b"], "", header=True)
    for lines in file.frames(7):
        assert lines.frame["a"].to_list() == [str(lines.first + place) for place in range(len(lines.frame))]
