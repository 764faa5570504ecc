"""Two runs beside each other, as the research's tables have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from mdaf.sweeper.study.comparison import ComparedRun, compare, run_from_folder, run_from_trial
from mdaf.sweeper.study.queries import QueryError, Row

WEAK = ["1,0.196,0.541,0.5829,-0.0419,0.3003", "2,0.2,0.6942,0.5703,0.1239,"]
BALANCED = ["1,0.2651,0.5265,0.5814,-0.0549,0.1821", "2,0.2,0.6,0.59,0.01,0.2"]


def _folder(folder: Path, epochs: list[str], best_epoch: int | None = None) -> Path:
    folder.mkdir(parents=True)
    header = "epoch,train_loss,train_auc,val_auc,train_val_gap,gate_mean"
    (folder / "metrics.csv").write_text("\n".join([header, *epochs]) + "\n")
    if best_epoch is not None:
        (folder / "result.json").write_text(json.dumps({"best_epoch": best_epoch}))
    return folder


def _by_metric(baseline: ComparedRun, other: ComparedRun, epoch: int | None = None) -> dict[str, Row]:
    return {row["metric"]: row for row in compare(baseline, other, epoch)}


def test_a_comparison_gives_both_values_delta_and_per_cent(tmp_path: Path) -> None:
    weak, balanced = _folder(tmp_path / "weak", WEAK), _folder(tmp_path / "balanced", BALANCED)
    rows = _by_metric(run_from_folder(weak), run_from_folder(balanced), epoch=1)
    assert (rows["val_auc"]["a"], rows["val_auc"]["b"]) == (0.5829, 0.5814)
    assert rows["val_auc"]["delta"] == pytest.approx(-0.0015)
    assert rows["val_auc"]["delta_percent"] == pytest.approx(-0.2573, abs=1e-4)
    assert "val_gauc" not in rows


def test_per_cent_is_of_the_signed_baseline_so_that_a_gap_that_grows_has_grown_by_a_positive_share(
    tmp_path: Path,
) -> None:
    weak, balanced = _folder(tmp_path / "weak", WEAK), _folder(tmp_path / "balanced", BALANCED)
    gap = _by_metric(run_from_folder(weak), run_from_folder(balanced), epoch=1)["train_val_gap"]
    assert gap["delta_percent"] == pytest.approx(31.03, abs=0.01)


def test_each_run_is_taken_at_its_own_best_epoch(tmp_path: Path) -> None:
    weak, balanced = _folder(tmp_path / "weak", WEAK), _folder(tmp_path / "balanced", BALANCED)
    rows = _by_metric(run_from_folder(weak), run_from_folder(balanced))
    assert (rows["best_epoch"]["a"], rows["best_epoch"]["b"]) == (1, 2)
    assert (rows["val_auc"]["a"], rows["val_auc"]["b"]) == (0.5829, 0.59)


def test_the_best_epoch_is_the_one_that_the_run_recorded(tmp_path: Path) -> None:
    assert run_from_folder(_folder(tmp_path / "weak", WEAK, best_epoch=2)).best_epoch == 2


def test_a_metric_that_one_run_lacks_has_no_delta(tmp_path: Path) -> None:
    weak, balanced = _folder(tmp_path / "weak", WEAK), _folder(tmp_path / "balanced", BALANCED)
    gate = _by_metric(run_from_folder(weak), run_from_folder(balanced), epoch=2)["gate_mean"]
    assert (gate["a"], gate["b"], gate["delta"]) == (None, 0.2, None)


def test_an_epoch_that_was_not_run_is_refused_with_those_that_were(tmp_path: Path) -> None:
    run = run_from_folder(_folder(tmp_path / "weak", WEAK))
    with pytest.raises(QueryError, match="has no epoch 3; it has: 1, 2"):
        compare(run, run, epoch=3)


def test_a_trial_is_read_from_its_folder_if_that_is_here_and_from_the_storage_if_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = create_trial(
        value=0.58,
        params={"dropout": 0.2},
        distributions={"dropout": FloatDistribution(0, 1)},
        user_attrs={"run_dir": str(tmp_path / "0"), "best_epoch": 2, "train_auc": 0.61},
        intermediate_values={1: 0.57, 2: 0.58},
    )
    stored = run_from_trial(trial)
    assert stored.epochs == {1: {"val_auc": 0.57}, 2: {"val_auc": 0.58, "train_auc": 0.61}}
    _folder(tmp_path / "0", WEAK)
    assert run_from_trial(trial).epochs == stored.epochs  # a study points nowhere else than below this directory
    monkeypatch.chdir(tmp_path)
    assert run_from_trial(trial).epochs[1]["train_auc"] == 0.541
    assert run_from_trial(trial).params == stored.params == {"dropout": 0.2}


def test_of_a_trial_without_its_folder_the_metric_that_was_reported_is_known() -> None:
    trial = create_trial(
        value=0.4, user_attrs={"config_hash": "a", "monitor": "val_loss"}, intermediate_values={1: 0.4, 2: 0.5}
    )
    for reported in (None, "val_loss", "no metric"):
        run = run_from_trial(trial, reported)
        assert (run.best_epoch, run.epochs[1]) == (1, {"val_loss": 0.4})


def test_trials_of_another_program_are_compared_by_the_values_of_their_last_epochs() -> None:
    first, second = (
        run_from_trial(create_trial(value=last, intermediate_values={0: 9.0, 1: last})) for last in (1.0, 3.0)
    )
    rows = {row["metric"]: (row["a"], row["b"], row["delta"]) for row in compare(first, second)}
    assert rows == {"epoch": (1, 1, 0), "value": (1.0, 3.0, 2.0)}


@pytest.mark.parametrize("content", ["step,loss\n1,2\n", "epoch,val_auc\n1,high\n"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(QueryError, match=r"metrics\.csv is damaged"):
        run_from_folder(tmp_path)
