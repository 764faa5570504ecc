"""The one list of metrics."""

from __future__ import annotations

import math

import pytest

from mdaf.sweeper.runs import metric_columns
from mdaf.sweeper.runs.metric_columns import BY_NAME, COLUMNS, TABLE, best_epoch, shown

SELECTIONS = ("OBJECTIVES", "TRAJECTORY", "RECORDED", "OVER_SEEDS", "CURVES", "COMPARED", "OF_A_MULTIRUN", "NEEDED")


def test_every_column_has_a_name_and_a_heading_of_its_own() -> None:
    assert len(BY_NAME) == len({column.heading for column in TABLE}) == len(COLUMNS) == len(TABLE)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_what_a_table_shows_are_columns_each_once(selection: str) -> None:
    names = getattr(metric_columns, selection)
    assert set(names) <= set(COLUMNS)
    assert len(names) == len(set(names))


def test_a_higher_auc_and_a_lower_loss_are_better() -> None:
    better = {column.name: column.higher_is_better for column in TABLE}
    assert all(better[name] for name in COLUMNS if name.endswith("auc"))
    assert not any(better[name] for name in COLUMNS if name.endswith("loss"))


def test_a_metric_is_shown_in_its_own_format_and_one_that_does_not_exist_as_a_dash() -> None:
    assert (shown("val_auc", 0.58), shown("train_val_gap", 0.01), shown("gate_mean", None)) == (
        "0.5800",
        "+0.0100",
        "-",
    )


def test_an_epoch_without_a_validation_auc_is_never_the_best() -> None:
    history = [{"epoch": 1, "val_auc": None}, {"epoch": 2, "val_auc": math.nan}, {"epoch": 3, "val_auc": 0.4}]
    assert best_epoch(history)["epoch"] == 3
