"""The best epoch so far, and when to stop."""

from __future__ import annotations

import pytest

from mdaf.sweeper.runs.metric_columns import best_epoch
from mdaf.sweeper.training.early_stopping import EarlyStopping


def epochs(*aucs: float) -> list[dict[str, float]]:
    """Epochs with these validation AUCs."""
    return [{"epoch": number, "val_auc": auc} for number, auc in enumerate(aucs, 1)]


@pytest.mark.parametrize(
    ("aucs", "patience", "stops_after"),
    [
        ((0.5, 0.6, 0.55, 0.54, 0.53), 2, 4),
        ((0.5, 0.6, 0.6, 0.6), 2, 4),
        ((0.5, 0.6, 0.55, 0.7, 0.6), 2, None),
        ((0.5, 0.4), 1, 2),
        ((0.5, 0.4, 0.3, 0.2), None, None),
    ],
    ids=["worse twice", "equal is not better", "better in time", "patience of one", "no patience set"],
)
def test_a_run_stops_when_patience_epochs_have_passed_since_its_best(
    aucs: tuple[float, ...], patience: int | None, stops_after: int | None
) -> None:
    stopping = EarlyStopping(patience)
    stopped = None
    for metrics in epochs(*aucs):
        stopping.add(metrics)
        if stopping.stops and stopped is None:
            stopped = metrics["epoch"]
    assert stopped == stops_after


def test_the_best_is_the_first_of_equals_for_a_run_that_trains_and_for_one_that_is_read() -> None:
    history = epochs(0.5, 0.6, 0.6)
    assert EarlyStopping.after(history).best == best_epoch(history) == history[1]


def test_where_a_loss_is_monitored_the_lowest_is_the_best() -> None:
    history = [{"epoch": n, "val_loss": loss, "val_auc": n} for n, loss in enumerate((0.5, 0.4, 0.4, 0.6), 1)]
    stopping = EarlyStopping.after(history, patience=2, monitor="val_loss")
    assert stopping.best == best_epoch(history, "val_loss") == history[1]
    assert stopping.stops


def test_each_epoch_says_whether_it_is_the_best_so_far() -> None:
    stopping = EarlyStopping()
    assert [stopping.add(metrics) for metrics in epochs(0.5, 0.6, 0.6, 0.7)] == [True, True, False, True]


def test_before_the_first_epoch_nothing_stops_and_nothing_is_best() -> None:
    assert not EarlyStopping(patience=0).stops
    assert EarlyStopping.after([]).best is None
