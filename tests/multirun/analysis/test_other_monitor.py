"""A report on runs whose best epoch another metric than the validation AUC has decided."""

from __future__ import annotations

from typing import Any

import pytest

from mdaf.multirun.analysis.report_data.content import Report
from mdaf.multirun.report.rendering.blocks import Table, Text, every
from mdaf.multirun.report.sections.evidence import criteria
from mdaf.multirun.report.sections.results import results
from mdaf.multirun.report.summarize import summary
from tests.multirun.fakes import history, write_run
from tests.sweeper.tiny import composed


def rows(val_auc: float, losses: tuple[float, float]) -> list[dict[str, Any]]:
    """Epochs whose AUC rises, with these losses and a ranking metric."""
    return [
        row | {"val_loss": loss, "hr@1": loss / 2, "mrr": 0.4}
        for row, loss in zip(history(val_auc), losses, strict=True)
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("runs")
    for seed, losses in ((1, (0.3, 0.5)), (2, (0.6, 0.4))):
        typed = [
            f"data.root={folder / 'stores'}",
            "training.monitor=val_loss",
            "criteria.min_val_auc=0.6",
            f"seed={seed}",
        ]
        write_run(folder / str(seed), composed(*typed), rows(0.7, losses))
    return summary([folder], None)


def test_every_figure_of_a_run_is_that_of_the_epoch_that_was_chosen(report: Report) -> None:
    [found] = report.figures.configurations.values()
    assert found.best_epochs == [1, 2]
    assert found.figures["val_loss"].mean == pytest.approx(0.35)
    assert found.figures["val_auc"].mean == pytest.approx((0.69 + 0.70) / 2)
    assert found.figures["hr@1"].mean == pytest.approx(0.175)
    assert found.epoch_optimism == pytest.approx(0.45 - 0.35)  # the mean curve is .45 in both epochs


def test_it_says_which_metric_decided_wherever_it_speaks_of_the_best_epoch(report: Report) -> None:
    blocks = [*every([*results(report).blocks, *criteria(report).blocks])]
    texts = " ".join(block.text for block in blocks if isinstance(block, Text))
    assert "The best epoch is that of the best val_loss (training.monitor), not of the highest val_auc." in texts
    assert "which flatters its val_loss there" in texts
    tables = [block for block in blocks if isinstance(block, Table)]
    assert any("gain in val_loss" in table.header for table in tables)
    assert any({"hr@1", "mrr"} <= set(table.header) for table in tables)
    assert any("validation AUC at the best val loss >=" in row[0] for table in tables for row in table.rows)
