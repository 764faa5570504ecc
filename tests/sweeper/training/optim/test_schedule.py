"""The learning rate on plateaus: how often it has fallen after each epoch, counted by hand."""

from __future__ import annotations

import pytest

from mdaf.sweeper.training.optim.schedule import Plateau

AUCS = (0.5, 0.6, 0.6, 0.55, 0.58, 0.61, 0.6, 0.6, 0.6, 0.6)


@pytest.mark.parametrize(
    ("epochs", "reductions"),
    [(1, [0, 0, 1, 2, 3, 3, 4, 5, 6, 7]), (2, [0, 0, 0, 1, 1, 1, 1, 2, 2, 3]), (3, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2])],
)
@pytest.mark.parametrize("monitor", ["val_auc", "val_loss"])
def test_the_rate_falls_after_so_many_epochs_in_a_row_without_a_better_value(
    epochs: int, reductions: list[int], monitor: str
) -> None:
    sign = 1 if monitor == "val_auc" else -1
    history = [{"epoch": epoch, monitor: sign * value} for epoch, value in enumerate(AUCS, start=1)]
    shares = [Plateau(epochs, 0.5, monitor=monitor).after(history[:n]).share_of(0.1) for n in range(1, 11)]
    assert shares == [0.5**count for count in reductions]


def test_the_rate_falls_to_the_lowest_and_one_below_it_stays() -> None:
    plateau = Plateau(1, 0.5, lowest_rate=0.02).after([{"epoch": epoch, "val_auc": 0.5} for epoch in range(1, 9)])
    assert 0.1 * plateau.share_of(0.1) == pytest.approx(0.02)
    assert plateau.share_of(0.01) == 1.0
