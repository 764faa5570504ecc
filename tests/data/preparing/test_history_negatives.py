"""Negatives of ``data.negatives_from=history`` and ``mixed`` against a loop over the rows of a small log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mdaf.data.preparing.negatives import NO_ITEM, draw_from_histories
from mdaf.data.preparing.prepare import prepare
from mdaf.data.store.batches.candidate_groups import candidate_groups
from mdaf.data.store.event_store import SPLITS
from tests.data.preparing.splits.test_splits import COLUMNS, rows_of
from tests.data.test_event_log import START, event_log, write

_RANDOM = np.random.default_rng(7)
LOG = pl.DataFrame(
    {
        "user": [f"u{int(user)}" for user in _RANDOM.integers(12, size=700)],
        "item": [f"i{int(item)}" for item in _RANDOM.exponential(3, size=700)],
        "time": START + np.arange(700) // 2 * 1800,
    }
)


@pytest.mark.parametrize(("source", "of_history", "splits"), [("history", 5, "time"), ("mixed", 2, "leave_one_out")])
def test_a_negative_of_the_history_was_touched_before_and_is_not_the_positive(
    tmp_path: Path, root: Path, source: str, of_history: int, splits: str
) -> None:
    settings = {"columns": COLUMNS, "negatives": 5, "negatives_from": source, "splits": splits, "length": 3}
    store = prepare(event_log(write(tmp_path, LOG), **settings), root)
    rows = list(LOG.iter_rows())
    undrawn = short = 0
    for split in SPLITS:
        groups = candidate_groups(store, split)
        assert groups is not None
        samples = rows_of(store, split)
        for group in range(groups[-1] + 1):
            (user, positive, time, label, *_), *others = (samples[row] for row in np.flatnonzero(groups == group))
            before = {row[1] for row in rows if row[0] == user and row[2] < time} - {positive}
            drawn = [other[1] for other in others][5 - of_history :] if source == "mixed" else [o[1] for o in others]
            assert label
            assert not any(other[3] for other in others)
            assert positive not in [other[1] for other in others]
            if len(others) == 5 or source == "history":
                assert set(drawn) <= before
                assert len(set(drawn)) == len(drawn) == min(of_history, len(before))
            undrawn += 5 - len(others)
            short += len(before) < of_history
    assert store.defects.incomplete == {"negatives that could not be drawn": undrawn}
    assert short >= 10


def test_an_item_of_a_history_is_drawn_as_often_as_it_was_touched_whatever_else_is_drawn() -> None:
    history = np.array([1, 1, 1, 2, 3] + [4] * 400 + [5], dtype=np.int32)
    count = 4000
    starts, ends = np.zeros(count, np.int64), np.full(count, 5)
    item, number = np.full(count, 3), np.arange(count)
    one = draw_from_histories(9, history, starts, ends, item, number, 1)[:, 0]
    assert np.mean(one == 1) == pytest.approx(3 / 4, abs=0.03)
    assert set(one.tolist()) == {1, 2}
    some = slice(100, 300)
    part = draw_from_histories(9, history, starts[some], ends[some], item[some], number[some], 3)
    assert np.array_equal(part, draw_from_histories(9, history, starts, ends, item, number, 3)[some])
    assert {tuple(sorted(row)) for row in part.tolist()} == {(NO_ITEM, 1, 2)}
    rare = draw_from_histories(9, history, starts[:20] + 5, ends[:20] + 401, np.full(20, 4), number[:20], 2)
    assert rare.tolist() == [[5, NO_ITEM]] * 20, "an item that is hardly ever touched is found all the same"
