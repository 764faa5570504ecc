from __future__ import annotations

import polars as pl
import pytest

from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.data.store.vocabulary import ValueCounts, Vocabulary, check_min_count
from mdaf.errors import DataError


def build(values: list, counted: list[bool], min_count: int = 1) -> Vocabulary:
    counts = ValueCounts()
    for start in range(0, len(values), 2):  # in pieces
        counts.add(pl.Series(values[start : start + 2]), pl.Series(counted[start : start + 2]))
    return counts.build(min_count)


def test_values_that_training_knows_come_first_by_descending_count() -> None:
    vocabulary = build([7, 5, 5, 9, 9, 9], [True] * 6)
    assert vocabulary.values.to_list() == [9, 5, 7]
    assert vocabulary.rows == FIRST_ID + 3


def test_a_value_that_only_later_rows_hold_has_a_code_but_no_row() -> None:
    vocabulary = build([7, 7, 8, 8, 8], [True, True, False, False, False])
    assert vocabulary.encode(pl.Series([7, 8])).tolist() == [FIRST_ID, FIRST_ID + 1]
    assert vocabulary.rows == FIRST_ID + 1


def test_a_value_below_the_minimal_count_has_a_code_but_no_row() -> None:
    vocabulary = build([1, 1, 2], [True] * 3, min_count=2)
    codes = vocabulary.encode(pl.Series([1, 2]))
    assert codes[0] < vocabulary.rows <= codes[1]


def test_a_missing_value_is_unknown() -> None:
    vocabulary = build(["a", None, "b"], [True] * 3)
    assert vocabulary.encode(pl.Series(["b", None, "a"])).tolist() == [FIRST_ID + 1, UNKNOWN, FIRST_ID]


def test_values_read_back_from_codes() -> None:
    vocabulary = build(["pv", "buy", "pv"], [True] * 3)
    assert vocabulary.values[vocabulary.encode(pl.Series(["buy"])) - FIRST_ID].to_list() == ["buy"]


@pytest.mark.parametrize("far", [1, 2, 10**12])
def test_numbers_far_apart_are_encoded_as_those_close_together(far: int) -> None:
    raw = [3, far + 5, None, 3, -far]
    codes = build(raw, [True] * 5).encode(pl.Series([*raw, far + 6, -far - 1]))
    assert codes.tolist() == [FIRST_ID, FIRST_ID + 2, UNKNOWN, FIRST_ID, FIRST_ID + 1, UNKNOWN, UNKNOWN]


def test_occurrences_are_those_of_the_whole_log() -> None:
    assert build([7, 7, 8], [True, False, False]).occurrences.tolist() == [2, 1]


def test_nothing_makes_a_vocabulary_of_reserved_ids_alone() -> None:
    assert ValueCounts().build().rows == FIRST_ID


@pytest.mark.parametrize(("counts", "said"), [({"colour": 2}, "colour"), ({"item": 0}, "item is 0")])
def test_a_minimal_count_that_makes_no_sense_is_refused(counts: dict[str, int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_min_count(counts, ["item"])
