"""Picking rows: conditions and order."""

from __future__ import annotations

from datetime import datetime

import pytest

from mdaf.sweeper.study.filters import sorted_by, where
from mdaf.sweeper.study.queries import QueryError, Row

ROWS: list[Row] = [
    {"number": 0, "state": "COMPLETE", "value": 0.58, "params.model": "mdaf_bst", "start": datetime(2026, 1, 2, 12, 0)},
    {"number": 1, "state": "FAIL", "value": None, "params.model": "mdaf_mamba", "start": datetime(2026, 1, 2, 12, 1)},
    {"number": 2, "state": "COMPLETE", "value": 0.57, "params.model": None, "start": None},
    {"number": 3, "state": "PRUNED", "value": 0.60, "params.model": 4, "start": datetime(2026, 1, 3)},
]


def _numbers(rows: list[Row]) -> list[int]:
    return [row["number"] for row in rows]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], [0, 1, 2, 3]),
        (["value>0.57"], [0, 3]),
        (["value >= 0.57", "value<0.6"], [0, 2]),
        (["value=0.6"], [3]),
        (["state==COMPLETE"], [0, 2]),
        (["state!=COMPLETE"], [1, 3]),
        (["state='FAIL'"], [1]),
        (["start<2026-01-02T12:01"], [0]),
        (["params.model=mdaf_bst"], [0]),
        (["params.model!=mdaf_bst"], [1, 3]),
        (["model=mdaf_bst"], [0]),  # the last part of a name is enough
        (["trial>=2"], [2, 3]),  # and so is the heading of the table
        (["state==COMPLETE and value>0.575"], [0]),
        (["state==FAIL or value>0.575 and state==COMPLETE"], [0, 1]),
        (["state=='FAIL or not' or trial=3"], [3]),
    ],
)
def test_a_row_is_kept_if_it_meets_every_condition_and_has_a_value(conditions: list[str], expected: list[int]) -> None:
    assert _numbers(where(ROWS, conditions)) == expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("dropout>0.2", "there is no column 'dropout'; there is: number, state, value"),
        ("value>0.5 and", "--where 'value>0.5 and': the column holds numbers, '0.5 and' is none"),
        ("value>0.5 and ", "expected COLUMN OPERATOR VALUE"),
        ("value>0.5 and dropout>0.2", "there is no column 'dropout'"),
        ("sate==FAIL", "there is no column 'sate'; there is: number, state, value, params.model, start; did you mean"),
        ("value", "expected COLUMN OPERATOR VALUE"),
        ("__import__('os').system('true')", "expected COLUMN OPERATOR VALUE"),
        ("value>high", "holds numbers, 'high' is none"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused_and_never_evaluated(condition: str, message: str) -> None:
    with pytest.raises(QueryError) as error:
        where(ROWS, [condition])
    assert message in str(error.value)


def test_a_short_name_that_may_mean_two_columns_is_refused() -> None:
    row: Row = {"params.a.dropout": 0.1, "params.b.dropout": 0.2}
    with pytest.raises(QueryError, match=r"'dropout' may be params\.a\.dropout or params\.b\.dropout"):
        where([row], ["dropout>0"])


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("value", [2, 0, 3, 1]),
        ("-value", [3, 0, 2, 1]),
        ("-start", [3, 1, 0, 2]),
        ("params.model", [3, 0, 1, 2]),  # numbers before text
        ("state", [0, 2, 1, 3]),
        ("-trial", [3, 2, 1, 0]),
    ],
)
def test_rows_without_a_value_come_last_in_either_order(column: str, expected: list[int]) -> None:
    assert _numbers(sorted_by(ROWS, column)) == expected
