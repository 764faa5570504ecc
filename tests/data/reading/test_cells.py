"""The same id, however a program writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mdaf.data.reading.cells import decimal, flag, no_numbers, number, numbers, rounded, word
from mdaf.data.reading.formats.delimited import TextFile
from mdaf.data.reading.formats.parquet import ParquetFile
from mdaf.data.reading.formats.parquet_footer import largest_row_group
from mdaf.errors import DataError

IDS = [0, 7, 1000, 16_777_215, -3]
TYPES = {
    "whole": pl.Int64,
    "decimal": pl.Float64,
    "short decimal": pl.Float32,
    "small": pl.Int32,
    "words": pl.String,
    "categories": pl.Categorical,
    "money": pl.Decimal(20, 2),
    "bytes": pl.Binary,
}


def written(folder: Path, column: pl.Series) -> list[tuple[str, pl.DataFrame]]:
    """The column as it is read from the files that may hold it."""
    frame = pl.DataFrame({"id": column, "other": "x"})
    frame.write_parquet(folder / "log.parquet")
    every = [("parquet", ParquetFile(folder / "log.parquet", ["id"], "", 1 << 30))]
    if column.dtype != pl.Binary:
        frame.write_csv(folder / "log.csv")
        every.append(("csv", TextFile(folder / "log.csv", ["id"], "", header=True)))
    return [(kind, pl.concat([lines.frame for lines in file.frames(1 << 20)])) for kind, file in every]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("missing", [False, True])
def test_an_id_is_the_same_whatever_type_a_file_keeps_it_in(tmp_path: Path, kind: str, missing: bool) -> None:
    ids = pl.Series(IDS).cast(pl.String).cast(TYPES[kind]) if kind in ("categories", "bytes") else pl.Series(IDS)
    ids = ids.cast(TYPES[kind]).extend_constant(None, 1) if missing else ids.cast(TYPES[kind])
    expected = [str(value) for value in IDS] + [None] * missing
    for file, frame in written(tmp_path, ids):
        found = frame.select(word=word("id"), number=number("id"), rounded=rounded("id"))
        assert found["word"].to_list() == expected, file
        assert found["number"].to_list() == IDS + [None] * missing, file
        assert not found["rounded"].any()


def test_a_decimal_that_rounds_ids_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    for ids in (pl.Series([2.0**53, 1e18]), pl.Series([2.0**24 + 2, 1e18], dtype=pl.Float32)):
        (_, frame), *_ = written(tmp_path, ids)
        assert frame.select(rounded("id"))["id"].all()
    words = pl.DataFrame(
        {"id": ["12e45678", "1e5", "9007199254740991.0", "1.5e+300", "9007199254740993.0", "a.b", None]}
    )
    assert words.select(rounded("id"))["id"].to_list() == [False, False, False, True, True, False, False]


def test_what_programs_write_for_nothing_is_missing_and_spaces_do_not_count() -> None:
    text = pl.DataFrame(
        {"x": ["nan", "<NA>", "NULL", "\\N", " ", " 5 ", "007", "1000.0", "1_0", "0x1f", "TRUE", "False"]}
    )
    found = text.select(w=word("x"), n=number("x"), d=decimal("x"), f=flag("x"))
    assert found["w"].to_list() == [None] * 5 + ["5", "007", "1000", "1_0", "0x1f", "TRUE", "False"]
    assert found["n"].to_list() == [None] * 5 + [5, 7, 1000] + [None] * 4
    assert found["f"].to_list() == [None] * 5 + [5, 7, 1000, None, None, 1, 0]


def test_lists_hold_whole_numbers_however_they_are_written() -> None:
    text = pl.DataFrame({"x": ["3|17", "3.0|17.0", " 3 | 17 ", "3||NULL", "3|x", "3|1.5", "4", None]})
    found = text.select(numbers=numbers("x"), wrong=no_numbers("x"))
    assert found["numbers"].to_list() == [[3, 17]] * 3 + [[3, None, None], [3, None], [3, None], [4], None]
    assert found["wrong"].to_list() == [False] * 4 + [True, True, False, None]


def test_a_row_group_larger_than_the_memory_is_refused_and_smaller_ones_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    ids = pl.Series("id", np.random.default_rng(0).integers(0, 2**62, 1 << 14))
    frame = pl.DataFrame([ids, ids.rename("unread"), ids.rename("other")])
    frame.write_parquet(path, row_group_size=1 << 14)
    assert 1 << 18 <= largest_row_group(path, ["id", "other"]) < 1.1 * (1 << 18)
    with pytest.raises(DataError, match=r"a row group of 26\d,\d+ bytes, .* 262,144 .* row_group_size"):
        next(ParquetFile(path, ["id", "other"], "", 1 << 18).frames(1 << 16))
    assert len(next(ParquetFile(path, ["id"], "", 1 << 18).frames(1 << 16)).frame) == 1024
    frame.write_parquet(path, row_group_size=1 << 12)
    assert len(next(ParquetFile(path, ["id", "other"], "", 1 << 18).frames(1 << 16)).frame) == 1024
