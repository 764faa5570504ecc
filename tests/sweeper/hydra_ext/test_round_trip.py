"""Values of any type keep it on their way: command line, config, study, the line that runs them again, Phase 4."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, create_trial
from typer.testing import CliRunner

from mdaf import conf
from mdaf.multirun.phase4.known import known_point, known_values
from mdaf.multirun.phase4.plan import best_trials, open_study, trained_otherwise
from mdaf.multirun.phase4.points import Point, checked, with_epochs
from mdaf.sweeper.hydra_ext.run_config import config_hash
from mdaf.sweeper.study.cli import app
from tests.sweeper.inside import run

TINY = ("data=synthetic_tiny", "data.train_rows=300", "data.validation_rows=100", "device=cpu", "training.epochs=1")
SEARCHED = (
    "model=choice(din)",
    "+model.embedding.behaviour=choice(4)",
    "model.embedding=choice({item: 8, category: 4, other: 4})",
    "model.head=choice([8,4])",
    "model.attention=choice([4])",
    "training.patience=50,null",
    "data.history_order=choice('time')",
    'training.train_sample=choice("${data.train_rows}")',
    "model.match_features=choice(true)",
    "training.learning_rate=choice(1e-05)",
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a sweep of one trial, whose parameters are of every type."""
    folder = tmp_path_factory.mktemp("work")
    sweep = ("-m", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=1", "hydra.sweeper.study_name=s")
    assert run(folder, *TINY, *sweep, *SEARCHED, tiny=()) == 0
    return folder


def hash_of(folder: Path) -> str:
    return str(json.loads((folder / "result.json").read_text())["config_hash"])


@pytest.mark.parametrize("split", [shlex.split, str.split], ids=["eval", "without"])
def test_what_best_prints_runs_the_trial_again_with_quotes_taken_off_and_without(
    here: Path, split: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    printed = CliRunner().invoke(
        app, ["best", "--storage", f"sqlite:///{here}/runs/studies.db", "--format", "overrides"]
    )
    assert printed.exit_code == 0, printed.stderr
    folder = f"again-{split.__qualname__}"
    assert run(here, *split(printed.stdout), f"hydra.run.dir={folder}", "training.epochs=1", tiny=()) == 0
    assert hash_of(here / folder) == hash_of(here / "runs/studies/s/0")


def test_phase_4_repeats_the_trial_and_finds_nothing_that_was_trained_otherwise(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    study = open_study(f"sqlite:///{here}/runs/studies.db", "s")
    [winner] = best_trials(study, 1)
    assert trained_otherwise(study.trials[0], "s") == []
    point = Point("trial-0", with_epochs(winner.overrides, None), here)
    config = checked(point)
    config.seed = 7
    assert config.model.embedding == {"item": 8, "category": 4, "other": 4, "behaviour": 4}
    assert (config.model.head, config.data.history_order, config.training.train_sample) == ([8, 4], "time", 300)
    assert config_hash(config) == hash_of(here / "runs/studies/s/0")
    assert checked(known_point("weak", point, known_values("weak"))).model == config.model


@pytest.mark.parametrize(
    ("recorded", "said", "differs"),
    [
        ("'[UNK]'", "[UNK]", False),
        ("[UNK]", "[UNK]", True),  # a list was suggested
        ("'null'", "null", False),
        ("null", None, False),
        (1, 1.0, False),
        (1, True, True),
        ("{a:1}", {"a": 1}, False),
    ],
)
def test_the_values_of_a_trial_are_compared_with_what_its_job_trained_by_their_types(
    recorded: Any, said: Any, differs: bool
) -> None:
    assert trained_otherwise(trial("data.view", recorded, said), "s") == ["data.view"] * differs


def test_a_merged_mapping_is_compared_with_what_a_rerun_trains() -> None:
    conf.register()
    whole = {"item": 16, "category": 32, "other": 16}
    assert trained_otherwise(trial("model.embedding", "{item:16}", whole, "model=din"), "s") == []
    assert trained_otherwise(trial("model.embedding", "{item:16}", whole | {"item": 8}, "model=din"), "s") != []


def trial(name: str, recorded: Any, said: Any, *overrides: str) -> FrozenTrial:
    """A complete trial, whose job said what it trained; its overrides make room for a string of any kind."""
    return create_trial(
        value=0.5,
        params={name: recorded},
        distributions={name: CategoricalDistribution([recorded, "another"])},
        user_attrs={"effective": {name: said}, "overrides": list(overrides or ("data=event_log",))},
    )
