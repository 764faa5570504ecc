"""Every model of ``conf/model`` through the command line, and the ablations that its keys offer."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import torch

from mdaf.sweeper.runs.folder import COLUMNS
from tests.model.zoo import MODELS
from tests.sweeper.tiny import typed

TINY = ("data=synthetic_tiny", "data.train_rows=400", "data.validation_rows=200", "device=cpu")
TINY += ("training.epochs=1", "training.batch_size=200")


def test_each_model_trains_an_epoch_and_leaves_its_artifacts(tmp_path: Path) -> None:
    ended = typed("sweeper", "-m", *TINY, f"model={','.join(MODELS)}", "hydra.sweep.dir=runs", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    for number, model in enumerate(MODELS):
        run = tmp_path / "runs" / str(number)
        with (run / "metrics.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert tuple(row) == COLUMNS
        assert all(math.isfinite(float(row[name])) for name in ("train_loss", "train_auc", "val_loss", "val_auc"))
        result = json.loads((run / "result.json").read_text())
        assert (result["model"], result["objective"]) == (model, float(row["val_auc"]))
        checkpoint = torch.load(run / "best.pt", weights_only=True)
        assert checkpoint["weights"]
        assert checkpoint["val_auc"] == result["objective"]
        assert "Trajectory (1 of 1 epochs)" in (run / "summary.txt").read_text()
        assert "Epoch time:" in (run / "train.log").read_text()


def test_a_misspelt_ablation_is_one_line(tmp_path: Path) -> None:
    run = typed("sweeper", *TINY, "model.without=[behavior]", cwd=tmp_path)
    assert run.returncode == 2
    (complaint,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert complaint.startswith(
        "error: model.without: behavior is no field of the data, which has behaviour, category,"
    )
