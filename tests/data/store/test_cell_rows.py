"""Which rows a cell reads, and with which weights."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.data.store.cell_rows import FARTHEST, LONGEST, CellRows, Members, MultiValued, Numeric, Pairs, cell_rows
from mdaf.data.store.vocabulary import ValueCounts, Vocabulary
from mdaf.errors import DataError

Cell = str | None


def cells_of(trained: list[Cell], later: list[Cell] | None = None) -> Vocabulary:
    counts = ValueCounts()
    counts.add(pl.Series(trained, dtype=pl.String), True)
    counts.add(pl.Series(later or [], dtype=pl.String), False)
    return counts.build()


def read(rows: CellRows, *cells: Cell | float) -> list[dict[int, float]]:
    """Row -> weight, of each cell."""
    pairs = rows.encode(pl.Series(cells, strict=False))
    assert pairs.ids.dtype == np.int32
    assert pairs.weights.dtype == np.float32
    return [
        {row: weight for row, weight in zip(ids, weights, strict=True) if row}
        for ids, weights in zip(pairs.ids.tolist(), pairs.weights.tolist(), strict=True)
    ]


def test_a_list_reads_the_row_of_each_member_once_and_unknown_ones_share_a_row() -> None:
    known = cells_of(["a|b", "b", "a|b|c", "b", None], later=["d"])
    rows = MultiValued("|", "mean").fit("tags", known, min_count=2)
    assert rows == Members("|", "mean", ("b", "a"))
    a, b = FIRST_ID + 1, FIRST_ID
    found = read(rows, "a", " b |a|| a", "a|c|d|e", "d", "", None, "NULL|nan")
    assert found == [{a: 1}, {b: 0.5, a: 0.5}, {a: 0.25, UNKNOWN: 0.75}, *[{UNKNOWN: 1}] * 4]
    total = read(MultiValued("|", "sum").fit("tags", known, min_count=2), "b|a", "a|c|d", None)
    assert total == [{b: 1, a: 1}, {a: 1, UNKNOWN: 2}, {UNKNOWN: 1}]


def test_of_a_long_list_the_most_frequent_members_count_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"t{number:02}" for number in range(LONGEST + 3)]
    rows = MultiValued(",", "mean").fit("tags", cells_of([",".join(names), ",".join(names[:3]), "t00"]), 1)
    (found,) = read(rows, ",".join(names))
    assert list(found) == list(range(FIRST_ID, FIRST_ID + LONGEST))
    assert set(found.values()) == {1 / LONGEST}
    assert f"tags: 1 lists have more than {LONGEST} members" in caplog.text
    assert isinstance(rows, Members)
    assert rows.values == tuple(names[:LONGEST])  # nothing is learned of the others, so they have no row
    assert read(rows, names[-1]) == [{UNKNOWN: 1}]


def test_the_largest_and_the_smallest_numbers_are_standardized_as_others() -> None:
    for size in (1e300, 1e-290):
        rows = Numeric("vector").fit("x", cells_of([repr(size), repr(3 * size)]), 1)
        assert read(rows, repr(3 * size), repr(-1.7e308))[0] == {FIRST_ID: pytest.approx(1)}


def test_a_truth_value_is_one_or_zero() -> None:
    rows = Numeric("vector").fit("x", cells_of(["true", "False", "1", "0.0"]), 1)
    assert read(rows, " TRUE", "false", "yes") == [{FIRST_ID: 1}, {FIRST_ID: -1}, {UNKNOWN: 1}]


def test_a_number_in_buckets_keeps_its_order_and_one_of_two_spellings_is_the_same_number() -> None:
    rows = Numeric("buckets", 4).fit("price", cells_of([str(n) for n in range(8)], later=["1000"]), 1)
    ids = rows.encode(pl.Series(["-9", "0", "1", "2", "3", "4", "7", "1e9", "2.0", " 2", "x", "inf", None])).ids[:, 0]
    first = FIRST_ID
    expected = [first, first, first, first + 1, first + 1, first + 2, first + 3, first + 3, first + 1, first + 1]
    assert ids.tolist() == [*expected, UNKNOWN, UNKNOWN, UNKNOWN]
    assert read(rows, 2.0, 7.0) == [{first + 1: 1}, {first + 3: 1}]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6).map(lambda x: f"{x:.3g}"), min_size=1, max_size=60), st.integers(2, 12))
def test_buckets_hold_about_equally_many_rows_of_training_and_none_is_empty(trained: list[str], buckets: int) -> None:
    rows = Numeric("buckets", buckets).fit("price", cells_of(trained, later=["-1e7", "1e7"]), 1)
    ids = rows.encode(pl.Series(trained)).ids[:, 0] - FIRST_ID
    counts = np.bincount(ids, minlength=rows.rows - FIRST_ID)
    assert len(counts) <= buckets
    assert counts.min() > 0
    commonest = max(trained.count(number) for number in trained)
    assert counts.max() <= math.ceil(len(trained) / buckets) + commonest


def test_a_number_times_a_vector_is_standardized_by_training_and_missing_is_apart() -> None:
    trained = ["1", "1", "5", "7", None]
    rows = Numeric("vector", 32).fit("price", cells_of(trained, later=["1000"]), 1)
    mean, std = np.mean([1, 1, 5, 7]), np.std([1, 1, 5, 7])
    (seven,), (unseen,), (far,), (missing,), (text,) = (
        list(c.items()) for c in read(rows, "7", "3.5", "1e30", None, "x")
    )
    assert seven == (FIRST_ID, pytest.approx((7 - mean) / std))
    assert unseen == (FIRST_ID, pytest.approx((3.5 - mean) / std))
    assert far == (FIRST_ID, FARTHEST)
    assert missing == text == (UNKNOWN, 1.0)
    (same,) = read(Numeric("vector", 32).fit("price", cells_of(["4", "4"]), 1), "5")
    assert same == {FIRST_ID: 1.0}


def test_a_field_without_a_number_in_training_is_refused() -> None:
    with pytest.raises(DataError, match=r"^field 'price' has no number in training"):
        Numeric("vector", 32).fit("price", cells_of([None], later=["3"]), 1)


@pytest.mark.parametrize(
    "rule", [Numeric("buckets", 3), Numeric("vector", 3), MultiValued("|", "mean"), MultiValued("|", "sum")]
)
def test_encoding_survives_json(rule: Numeric | MultiValued) -> None:
    rows = rule.fit("field", cells_of(["1", "2", "3|4", "5.125"] if isinstance(rule, MultiValued) else ["1", "2.5"]), 1)
    again = cell_rows(json.loads(json.dumps(rows.to_json())), getattr(rows, "values", ()))
    cells = pl.Series(["1", "2.5|4", "3", None])
    one, other = rows.encode(cells), again.encode(cells)
    assert isinstance(one, Pairs)
    assert np.array_equal(one.ids, other.ids)
    assert np.array_equal(one.weights, other.weights)


@pytest.mark.parametrize(
    "damaged",
    [
        {"kind": "buckets", "edges": [3, 2]},
        {"kind": "vector", "mean": 0, "std": 0},
        {"kind": "list", "separator": "", "pooling": "mean"},
        {"kind": "code"},
    ],
)
def test_damaged_settings_are_refused(damaged: dict) -> None:
    with pytest.raises(ValueError, match=r"edges|deviation|separator|kind"):
        cell_rows(damaged)
