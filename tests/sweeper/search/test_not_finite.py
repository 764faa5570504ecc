"""What is no finite number is no result: of a metric, a run, a trial, a study."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hydra.core.utils import JobReturn, JobStatus
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from mdaf.multirun.analysis.rows import roc
from mdaf.sweeper.study import queries, summaries, winners
from mdaf.sweeper.study.pictures import figures
from mdaf.sweeper.study.pictures.plots import plots_page
from mdaf.sweeper.training.evaluating import metrics, resampling
from mdaf.sweeper.training.evaluating.evaluation import gate_statistics
from mdaf.sweeper.training.replicas import Replicas
from mdaf.sweeper.trials.outcome import values_of
from tests.sweeper.inside import run

LABELS = torch.tensor([0.0, 1.0, 0.0, 1.0])
TYPED = ("training.train_sample=200", "training.epochs=2")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_metric_ranks_scores_that_are_not_finite(bad: float) -> None:
    scores = torch.tensor([0.1, bad, 0.3, 0.4])
    users = torch.tensor([0, 0, 1, 1])
    for metric in (
        lambda: metrics.auc(scores, LABELS),
        lambda: metrics.grouped_auc(scores, LABELS, users),
        lambda: metrics.log_loss(scores, LABELS),
        lambda: metrics.calibration_error(scores, LABELS),
        lambda: gate_statistics(scores),
        lambda: roc.roc_auc(scores.numpy(), LABELS.numpy()),
        lambda: roc.delong(LABELS.numpy(), scores.numpy(), LABELS.numpy()),
        lambda: resampling.resampled_aucs(
            scores.numpy(), LABELS.numpy(), users.numpy(), np.ones((2, 2), dtype=np.int32)
        ),
    ):
        with pytest.raises(ValueError, match="no finite numbers"):
            metric()


@pytest.fixture
def spoils(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the weights of the replicas with a seed NaN behind the last step of an epoch: its losses are numbers."""

    def spoil(seed: int, epoch: int) -> None:
        settle_of, begun, current = Replicas.settle, Replicas.begin_epoch, [0]

        def begin_epoch(self: Replicas, number: int) -> None:
            current[0] = number
            begun(self, number)

        def settle(self: Replicas) -> None:
            settle_of(self)
            for k, h in enumerate(self.hyperparameters):
                if h.seed == seed and current[0] == epoch:
                    with torch.no_grad():
                        for parameter in self.model.parameters():
                            parameter[k] = math.nan

        monkeypatch.setattr(Replicas, "begin_epoch", begin_epoch)
        monkeypatch.setattr(Replicas, "settle", settle)

    return spoil


def test_a_run_whose_weights_become_nan_behind_its_last_step_has_diverged(
    tmp_path: Path, spoils: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    spoils(42, 2)
    assert run(tmp_path, *TYPED, "hydra.run.dir=nan") == 1
    [said] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "the model diverged: " in said
    assert "in epoch 2; lower training.learning_rate" in said
    assert not (tmp_path / "nan/result.json").exists()
    assert len((tmp_path / "nan/metrics.csv").read_text().splitlines()) == 2  # heading and the first epoch


def test_of_replicas_the_one_that_diverges_fails_and_the_others_end_as_they_would(
    tmp_path: Path, spoils: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoils(2, 1)
    typed = ["-m", *TYPED, "seed=1,2", "hydra/launcher=replicas", "hydra.sweep.dir=both"]
    assert run(tmp_path, *typed) == 1
    assert json.loads((tmp_path / "both/0/result.json").read_text())["state"] == "complete"
    assert not (tmp_path / "both/1/result.json").exists()
    assert "both/1: the model diverged" in (tmp_path / "both/1/train.log").read_text()
    assert "diverged" not in (tmp_path / "both/0/train.log").read_text()


def test_a_trial_that_diverges_fails_and_is_not_the_best(tmp_path: Path, spoils: Any) -> None:
    spoils(7, 1)  # the seed of the sweep's trials
    sweep = ["-m", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=1", "sweep.max_failures=1"]
    run(tmp_path, *TYPED, *sweep, "sweep.storage=sqlite:///s.db", "hydra.sweep.dir=sweep")
    [study] = queries.load_studies(optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/s.db"))
    assert {trial.state.name for trial in study.trials} == {"FAIL"}
    assert "diverged" in study.trials[0].user_attrs["error"]
    assert winners.ranked(study) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_objective_that_is_not_finite_fails_its_trial(value: float) -> None:
    returned = JobReturn(status=JobStatus.COMPLETED)
    returned.return_value = value
    with pytest.raises(ValueError, match="the objective is"):
        values_of(returned, 1)


def study_with(values: list[Any], directions: list[str]) -> optuna.Study:
    study = optuna.create_study(directions=directions)
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    for place, value in enumerate(values):
        params = {"x": place / len(values), "y": 1 - (place / len(values)) ** 2}
        study.add_trial(create_trial(values=value, params=params, distributions=space))
    return study


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_infinite_values_of_another_programs_study_are_never_the_best(direction: str) -> None:
    study = study_with([[math.inf], [0.5], [-math.inf], [0.6], [0.4]], [direction])
    assert winners.ranked(study)[0].number == (3 if direction == "maximize" else 4)
    assert summaries.study_summary(study)["best_value"] in (0.6, 0.4)
    assert set(summaries.importances(study)) == {"x", "y"}
    [line] = [trace for trace in figures.history(study).data if trace.name == "best so far"]
    assert all(map(math.isfinite, line.y))
    assert "Infinity" not in plots_page(study).rpartition("</script>")[2]


def test_a_front_of_several_objectives_holds_finite_values_alone() -> None:
    study = study_with([[math.inf, 0.0], [0.5, 0.5], [0.6, 0.4], [0.4, 0.6]], ["maximize", "minimize"])
    assert [trial.number for trial in winners.ranked(study)] == [2]


def test_a_figure_that_does_not_exist_is_empty_and_no_nan(tmp_path: Path) -> None:
    # Of one row of training there is no AUC.
    assert (
        run(tmp_path, "training.train_sample=1", "training.epochs=1", "criteria.min_val_auc=0.6", "hydra.run.dir=one")
        == 0
    )
    text = (tmp_path / "one/result.json").read_text()
    result = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert result["best"]["train_auc"] is None
    assert "nan" not in (tmp_path / "one/metrics.csv").read_text()
    assert "train-validation gap < 0.2 at epoch 5" in (tmp_path / "one/summary.txt").read_text()
