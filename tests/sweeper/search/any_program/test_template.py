"""A project laid out like the most copied template for Lightning and Hydra is swept after one line of it is changed.

The layout is that which the template documents: ``src/train.py``, ``src/data``, ``src/models``, and ``configs`` with a
folder for each group. Plain classes stand in for Lightning's.
"""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from mdaf.sweeper.study.winners import best_records
from tests.sweeper.search.any_program.test_program_shapes import Program

BEFORE, AFTER = "override /hydra/sweeper: optuna", "override /hydra/sweeper: study"

FILES = {
    ".project-root": "",
    "src/__init__.py": "",
    "src/data/__init__.py": "",
    "src/data/digits_datamodule.py": """
class DigitsDataModule:
    def __init__(self, data_dir, batch_size):
        self.data_dir, self.batch_size = data_dir, batch_size
""",
    "src/models/__init__.py": "",
    "src/models/digits_module.py": """
class DigitsModule:
    def __init__(self, optimizer, net):
        self.optimizer, self.net = optimizer([]), net
""",
    "src/models/optimizers.py": """
class SGD:
    def __init__(self, params, lr):
        self.lr = lr
""",
    "src/models/components/__init__.py": "",
    "src/models/components/dense_net.py": """
class DenseNet:
    def __init__(self, size):
        self.size = size
""",
    "src/trainer.py": """
import mdaf

class Trainer:
    def __init__(self, default_root_dir, max_epochs, report):
        self.max_epochs, self.report, self.metrics = max_epochs, report, {}

    def fit(self, model, data):
        trial = mdaf.attach() if self.report else None
        for epoch in range(1, self.max_epochs + 1):
            accuracy = (1 - abs(model.optimizer.lr - 0.03)) * (1 - 1 / model.net.size) * epoch / self.max_epochs
            self.metrics["val/acc_best"] = accuracy
            if trial is not None:
                trial.report(epoch, accuracy, last=epoch == self.max_epochs)
""",
    "src/train.py": """
import os, sys
from pathlib import Path

import hydra

root = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(root))
os.environ["PROJECT_ROOT"] = str(root)


def train(cfg):
    data = hydra.utils.instantiate(cfg.data)
    model = hydra.utils.instantiate(cfg.model)
    trainer = hydra.utils.instantiate(cfg.trainer)
    if cfg.get("train"):
        trainer.fit(model, data)
    Path(cfg.paths.output_dir, "trained").write_text(f"batches of {data.batch_size}")
    return trainer.metrics


@hydra.main(version_base="1.3", config_path="../configs", config_name="train.yaml")
def main(cfg):
    metrics = train(cfg)
    print("finished", cfg.task_name, cfg.tags, flush=True)
    return metrics[cfg.get("optimized_metric", "val/acc_best")]


if __name__ == "__main__":
    main()
""",
    "configs/__init__.py": "",
    "configs/train.yaml": """
# @package _global_
defaults:
  - _self_
  - data: digits
  - model: digits
  - trainer: default
  - paths: default
  - hydra: default
  - experiment: null
  - hparams_search: null
  - optional local: default

task_name: train
tags: [dev]
train: true
seed: null
""",
    "configs/data/digits.yaml": """
_target_: src.data.digits_datamodule.DigitsDataModule
data_dir: ${paths.data_dir}
batch_size: 128
""",
    "configs/model/digits.yaml": """
_target_: src.models.digits_module.DigitsModule
optimizer:
  _target_: src.models.optimizers.SGD
  _partial_: true
  lr: 0.001
net:
  _target_: src.models.components.dense_net.DenseNet
  size: 64
""",
    "configs/trainer/default.yaml": """
_target_: src.trainer.Trainer
default_root_dir: ${paths.output_dir}
max_epochs: 2
report: false
""",
    "configs/paths/default.yaml": """
root_dir: ${oc.env:PROJECT_ROOT}
data_dir: ${paths.root_dir}/data/
log_dir: ${paths.root_dir}/logs/
output_dir: ${hydra:runtime.output_dir}
work_dir: ${hydra:runtime.cwd}
""",
    "configs/hydra/default.yaml": """
run:
  dir: ${paths.log_dir}/${task_name}/runs/${now:%Y-%m-%d}_${now:%H-%M-%S}
sweep:
  dir: ${paths.log_dir}/${task_name}/multiruns/${now:%Y-%m-%d}_${now:%H-%M-%S}
  subdir: ${hydra.job.num}
""",
    "configs/experiment/example.yaml": """
# @package _global_
defaults:
  - override /data: digits
  - override /model: digits
tags: [digits, dense]
seed: 12345
model:
  net:
    size: 32
""",
    "configs/hparams_search/digits_optuna.yaml": """
# @package _global_
defaults:
  - override /hydra/sweeper: optuna

optimized_metric: val/acc_best

hydra:
  mode: MULTIRUN
  sweeper:
    _target_: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper
    storage: null
    study_name: null
    n_jobs: 1
    direction: maximize
    n_trials: 3
    sampler:
      _target_: optuna.samplers.TPESampler
      seed: 1234
      n_startup_trials: 10
    params:
      model.optimizer.lr: interval(0.0001, 0.1)
      data.batch_size: choice(32, 64, 128, 256)
      model.net.size: choice(64, 128, 256)
""",
}
TYPED = ("-m", "hparams_search=digits_optuna", "experiment=example")
KEPT = ("hydra.sweeper.storage=sqlite:///studies.db", "hydra.sweeper.study_name=theirs")


@pytest.fixture
def project(tmp_path: Path) -> Program:
    search = FILES["configs/hparams_search/digits_optuna.yaml"]
    assert search.count(BEFORE) == 1
    changed = {"configs/hparams_search/digits_optuna.yaml": search.replace(BEFORE, AFTER)}
    return Program(tmp_path / "theirs", "src/train.py").write(FILES | changed)


def test_the_command_of_the_template_runs_as_before(project: Program) -> None:
    swept = project.run(*TYPED)
    assert swept.stdout.count("finished train ['digits', 'dense']") == 3
    assert "best: trial" in swept.stdout
    assert {file.parent.name for file in project.folder.glob("logs/train/multiruns/*/*/trained")} == {"0", "1", "2"}


def test_its_study_is_kept_goes_on_and_is_pruned_where_that_is_typed(
    project: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run(*TYPED, *KEPT)
    pruner = ("hydra.sweeper.pruner={_target_: optuna.pruners.ThresholdPruner, lower: 2}", "trainer.report=true")
    study = optuna.load_study(study_name="theirs", storage=f"sqlite:///{project.folder}/studies.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    project.run(*TYPED, *KEPT, *pruner, "hydra.sweeper.n_trials=4", "hydra.sweeper.force=true")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3 + ["PRUNED"]
    assert set(study.best_params) == {"model.optimizer.lr", "data.batch_size", "model.net.size"}

    monkeypatch.chdir(project.folder)
    [record] = best_records(study, 1)
    words = str(record["command"]).split()
    assert words[:5] == [
        "python",
        "src/train.py",
        "hydra.mode=RUN",
        "hparams_search=digits_optuna",
        "experiment=example",
    ]
    again = project.run(*words[2:])
    assert again.stdout.count("finished train") == 1
    [run] = project.folder.glob("logs/train/runs/*/trained")
    assert run.read_text() == f"batches of {study.best_params['data.batch_size']}"
