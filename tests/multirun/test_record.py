"""The research's own record, entered as run folders: the report says of it what the research's report said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdaf.multirun.analysis.report_data.content import Report
from mdaf.multirun.report.summarize import summary
from mdaf.multirun.report.verify import verify
from mdaf.multirun.report.writer import markdown
from mdaf.sweeper.job import criteria
from mdaf.sweeper.runs.metric_columns import COLUMNS
from tests.multirun.fakes import write_run
from tests.multirun.record import PHASE_1, PHASE_1_SEED_42, PHASE_1_SEED_123, PHASE_3, REVISED, epoch
from tests.sweeper.tiny import composed

EPOCH_SECONDS = (20.5 + 2) * 60


@pytest.fixture(scope="module", autouse=True)
def made_up_data_are_the_researchs() -> Iterator[None]:
    """The record's runs have the research's data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(criteria, "OF_THE_RESEARCH", ("mdaf.data.synthetic.Synthetic",))
        yield


def entered(folder: Path, experiment: str, seed: int, rows: list[dict[str, Any]]) -> None:
    """A run folder with what the record says of this run; the rest is empty."""
    known = [dict.fromkeys(COLUMNS) | {"epoch_seconds": EPOCH_SECONDS} | row for row in rows]
    settings = [f"regularization={experiment}", f"seed={seed}", "training.epochs=5"]
    write_run(folder / experiment / str(seed), composed(*settings), known)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("record")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, row in (("weak", PHASE_1), ("strong", PHASE_3), ("balanced", REVISED)):
            entered(folder / "runs", name, 42, [row])
        found = summary([folder / "runs"], folder / "report")
        assert verify(folder / "report/report.json") == []
    return found.to_json()


def test_the_delta_tables_of_the_record_come_out(report: dict[str, Any]) -> None:
    tables = {(table["baseline"], table["other"]): table["rows"] for table in report["figures"]["deltas"]}
    against_1, against_3 = ({row["metric"]: row for row in tables[one, "balanced"]} for one in ("weak", "strong"))
    assert against_1["val_auc"]["delta"] == pytest.approx(-0.0015)
    assert against_1["gate_mean"]["delta"] == pytest.approx(-0.1182)
    assert against_1["train_val_gap"]["delta"] == pytest.approx(-0.0130)
    assert against_1["train_loss"]["delta_percent"] == pytest.approx(35.26, abs=1e-2)
    assert against_3["val_auc"]["delta"] == pytest.approx(0.0116)
    assert against_3["val_auc"]["delta_percent"] == pytest.approx(2.036, abs=1e-3)
    assert "| val_auc | 0.5829 | 0.5814 | -0.00150 | -0.26 % |" in markdown(Report.from_json(report))


def test_the_ranking_of_the_record_comes_out(report: dict[str, Any]) -> None:
    ranked = [(row["name"], round(row["percent_of_best"], 1)) for row in report["figures"]["ranking"]]
    assert ranked == [("weak", 100.0), ("balanced", 99.7), ("strong", 97.8)]


def test_the_balanced_point_is_tier_one_and_a_half(report: dict[str, Any]) -> None:
    found = report["figures"]["criteria"]["balanced"]
    assert (found["tier"], found["decision"]) == ("1.5", "complete the run")


def test_the_record_is_statistically_insufficient(report: dict[str, Any]) -> None:
    text = markdown(Report.from_json(report))
    assert "1 of 5 epochs times 1 of 5 seeds: 4 % of the planned evidence. The data are statistically insuff" in text
    assert {row["verdict"] for row in report["figures"]["comparisons"]} == {"indistinguishable"}
    for analysis in ("best epoch", "overfitting trajectory", "mean over seeds", "variance over seeds"):
        assert f"| {analysis} | invalid |" in text


def test_phase_1s_two_seeds_settle_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    second = [
        epoch(row["epoch"], row["train_auc"], value)
        for row, value in zip(PHASE_1_SEED_42, PHASE_1_SEED_123, strict=True)
    ]
    entered(tmp_path / "runs", "weak", 42, PHASE_1_SEED_42)
    entered(tmp_path / "runs", "weak", 123, second)
    figures = summary([tmp_path / "runs"], None).to_json()["figures"]
    found = figures["configurations"]["weak"]["figures"]["val_auc"]
    assert found["mean"] == pytest.approx((0.5829 + 0.5762) / 2)
    low, high = found["t_interval"]
    assert high - low > 0.08  # twenty times what separated the phases
    assert figures["criteria"]["weak"]["decision"] == "regularize more"
    assert figures["evidence"]["verdict"] == "statistically insufficient"
