"""Phase 4 and the table of runs."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import optuna
import pytest
import torch

from mdaf.errors import UserError
from mdaf.multirun.launching.table import collect, show, spread
from mdaf.multirun.phase4.plan import best_trials, open_study
from mdaf.multirun.report.verify import verify
from mdaf.sweeper.runs.checkpoint import DIGEST, sealed
from mdaf.sweeper.runs.metric_columns import OF_A_MULTIRUN
from mdaf.sweeper.runs.packing import pack
from mdaf.sweeper.trials.user_attrs import OBJECTIVE
from tests.sweeper.tiny import TINY, typed


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a study of two trials, taken to its report."""
    folder = tmp_path_factory.mktemp("work")
    command = ["-m", "hydra/sweeper=regularization", *TINY, "training.epochs=1", "hydra.sweeper.n_trials=2"]
    sweep = typed("sweeper", *command, cwd=folder)
    assert sweep.returncode == 0, sweep.stderr
    verdict = typed("multirun", *SMALL, "--yes", cwd=folder)
    assert verdict.returncode == 0, verdict.stderr
    return folder


SMALL = ("design=research", "points=[winner]", "seeds=[42]", "confirm.top=0", "resamples=20")
STUDY = "regularization-mdaf_mamba-synthetic_tiny"
REPORT = Path("runs/phase4") / STUDY / "report"


def write_run(folder: Path, seed: int, val_auc: float, overrides: str = "[]") -> Path:
    """A finished run with these figures."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/overrides.yaml").write_text(overrides)
    best = dict.fromkeys(OF_A_MULTIRUN, 0.5) | {"val_auc": val_auc, "gate_mean": None}
    (folder / "result.json").write_text(json.dumps({"seed": seed, "best_epoch": 1, "best": best}))
    return folder


def test_the_winner_is_trained_on_phase_4s_seeds_and_reported_down_to_its_checkpoint(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    report = json.loads((REPORT / "report.json").read_text())
    [run] = [run for run in report["inputs"]["runs"] if run["stage"] == "phase 4"]
    result = json.loads((REPORT / run["folder"] / "result.json").read_text())
    assert (run["seed"], run["study"], run["trial"]) == (42, STUDY, report["inputs"]["winner_trial"])
    assert (run["config_hash"], run["data_hash"]) == (result["config_hash"], result["data_hash"])
    figures = report["figures"]["runs"][run["id"]]
    assert figures["best"]["val_auc"] == result["best"]["val_auc"]
    assert report["figures"]["configurations"]["winner"]["figures"]["test_auc"]["n"] == 1
    reads = [json.loads(line) for line in (REPORT / "test_reads.jsonl").read_text().splitlines()]
    assert [len(read["runs"]) for read in reads] == [1]
    assert verify(REPORT / "report.json", deep=True) == []


def test_an_auc_that_the_checkpoint_does_not_have_is_found_by_a_deep_look(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    [run] = [path.parent for path in REPORT.parent.rglob("seed-42/best.pt")]
    files = [run / "best.pt", run / "result.json", REPORT / "report.json"]
    kept = {file: file.read_bytes() for file in files}
    checkpoint = torch.load(run / "best.pt", weights_only=True)
    checkpoint["weights"] = pack({name: -value for name, value in checkpoint["weights"].items()})
    checkpoint.pop(DIGEST)
    torch.save(sealed(checkpoint), run / "best.pt")
    try:
        plain = {difference.figure for difference in verify(REPORT / "report.json")}
        for file in files[1:]:  # whoever exchanged the checkpoint makes all the digests fit
            digests = (hashlib.sha256(content).hexdigest() for content in (kept[files[0]], files[0].read_bytes()))
            file.write_text(file.read_text().replace(*digests))
        deep = {difference.figure: difference.found for difference in verify(REPORT / "report.json", deep=True)}
    finally:
        for file, content in kept.items():
            file.write_bytes(content)
    assert "inputs.runs.phase 4/winner/seed-42: SHA-256 of best.pt" in plain
    assert "inputs.runs.phase 4/winner/seed-42: SHA-256 of best.pt" not in deep
    assert 0 < deep["runs.phase 4/winner/seed-42.best.val_auc (from best.pt)"] < 1
    assert 0 < deep["runs.phase 4/winner/seed-42.test_auc (from best.pt)"] < 1


def test_the_winner_is_repeated_without_the_searchs_seed(here: Path) -> None:
    [winner] = best_trials(open_study(f"sqlite:///{here}/runs/studies.db", None), 1)
    keys = [override.split("=")[0] for override in winner.overrides]
    assert "seed" not in keys
    assert {"regularization.dropout", "regularization.weight_decay", "data", "training.epochs"} <= set(keys)


def test_without_a_study_it_says_what_is_missing(here: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="studies"):
        open_study(f"sqlite:///{tmp_path}/studies.db", None)
    with pytest.raises(UserError, match="there is no study 'absent'"):
        open_study(f"sqlite:///{here}/runs/studies.db", "absent")


def test_a_study_that_another_metric_judges_is_refused_with_what_to_type(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    study = optuna.create_study(storage=url, study_name="by-loss", direction="minimize")
    study.set_user_attr(OBJECTIVE, json.dumps({"names": ["val_loss"]}))
    with pytest.raises(UserError, match=r"minimizes val_loss, and Phase 4 compares AUCs; .*objectives=\[val_auc\]"):
        open_study(url, "by-loss")


def test_the_spread_is_over_the_seeds_of_one_configuration(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "0", 42, 0.70, "[seed=42, regularization=weak]"),
        write_run(tmp_path / "1", 123, 0.80, "[seed=123, regularization=weak]"),
        write_run(tmp_path / "2", 42, 0.60, "[seed=42, regularization=strong]"),
    ]
    table = collect([*runs, tmp_path / "absent"])
    assert [run["configuration"] for run in table] == [
        "regularization=weak",
        "regularization=weak",
        "regularization=strong",
    ]
    statistics = spread(table)
    weak = statistics["regularization=weak"]
    assert weak["val_auc"].mean == pytest.approx(0.75)
    assert weak["val_auc"].std == pytest.approx(0.0707107, abs=1e-6)  # sample standard deviation
    assert math.isnan(statistics["regularization=strong"]["val_auc"].std)
    assert "gate_mean" not in weak  # this model has no gate
    again = write_run(tmp_path / "3", 123, 0.80, "[seed=123, regularization=weak]")
    assert spread(collect([*runs, again]))["regularization=weak"] == weak  # one seed counts once


def test_a_table_of_runs_has_no_column_without_a_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(collect([write_run(tmp_path / str(seed), seed, 0.70 + seed / 100) for seed in (1, 2)]), "grid")
    said = capsys.readouterr().out
    assert "val_auc" in said
    assert "gate_mean" not in said
