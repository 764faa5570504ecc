"""Words that cannot be meant as they were typed: one line, with what to type instead."""

from __future__ import annotations

import pytest

from mdaf.conf import schema
from mdaf.errors import UserError
from mdaf.multirun.__main__ import COMMANDS
from mdaf.sweeper.command_line import check


@pytest.fixture(autouse=True)
def typed_as_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/sweeper/__main__.py"])


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        (["seed=1,2,3"], "python -m sweeper -m seed=1,2,3"),
        (["device=cpu", "model=choice(din,bst)"], "python -m sweeper -m device=cpu 'model=choice(din,bst)'"),
        (["training.epochs=range(1,4)"], "python -m sweeper -m 'training.epochs=range(1,4)'"),
        (["model=glob(*)"], "python -m sweeper -m 'model=glob(*)'"),
        (["hydra/sweeper=regularization"], "python -m sweeper -m hydra/sweeper=regularization"),
        (["hydra/launcher=submitit_slurm"], "python -m sweeper -m hydra/launcher=submitit_slurm"),
        (["hydra.sweep.dir=x"], "python -m sweeper -m hydra.sweep.dir=x"),
        (["sweep.workers=4"], "python -m sweeper -m hydra/sweeper=regularization sweep.workers=4"),
        (["sweep.plateau.trials=4"], "python -m sweeper -m hydra/sweeper=regularization sweep.plateau.trials=4"),
        (
            ["hydra.sweeper.n_trials=9", "seed=1"],
            "python -m sweeper -m hydra/sweeper=regularization hydra.sweeper.n_trials=9 seed=1",
        ),
        (
            ["regularization.dropout=interval(0,0.3)"],
            "python -m sweeper -m hydra/sweeper=regularization 'regularization.dropout=interval(0,0.3)'",
        ),
    ],
)
def test_a_forgotten_m_is_answered_with_the_line_to_type(typed: list[str], instead: str) -> None:
    with pytest.raises(UserError, match="-m") as caught:
        check(typed, schema.Config)
    assert str(caught.value).split("; type ")[1].split("; ")[0] == instead
    assert str(caught.value).startswith(next(word for word in typed if word != "device=cpu"))


@pytest.mark.parametrize(
    "typed",
    [
        "hydra.sweeper.n_trials=9",
        "sweep.workers=4",
        "hydra/sweeper/pruner=median",
        "training.learning_rate=tag(log,interval(1e-4,1e-3))",
    ],
)
def test_what_only_an_optuna_sweep_reads_is_refused_in_a_grid(typed: str) -> None:
    for words in (["-m", typed], ["--multirun", typed], ["-m", "hydra/sweeper=basic", typed]):
        with pytest.raises(UserError, match=r"; type python -m sweeper -m hydra/sweeper=regularization '?") as caught:
            check(words, schema.Config)
        assert "basic" not in str(caught.value)


@pytest.mark.parametrize(
    "typed",
    [
        ["seed=1"],
        ["model.head=[64,32]", "model.without=[behaviour]", "+note='a,b'", "~model.without"],
        ["-m", "seed=1,2,3", "hydra/launcher=joblib", "hydra.sweep.dir=x"],
        ["-m", "hydra/sweeper=study", "sweep.workers=4", "regularization.dropout=interval(0,1)"],
        ["-m", "--config-dir", "mine", "sweep.workers=4"],  # whose config may choose the sweeper
        ["hydra.mode=MULTIRUN", "hydra/sweeper=study", "sweep.workers=4"],
        ["hydra/sweeper=regularization", "--cfg", "hydra"],
        ["sweep.storage=sqlite:///x.db", "sweep.artifacts=file:///x", "sweep.objectives=[val_loss]"],
        ["'seed=1,2'"],  # which Hydra reads, and refuses
    ],
    ids=" ".join,
)
def test_what_can_be_meant_passes(typed: list[str]) -> None:
    check(typed, schema.Config)


@pytest.mark.parametrize("typed", ["seed=1,2,1", "regularization.dropout=choice(0.1,1e-1)", "model=din,bst,din"])
def test_a_value_that_is_typed_twice_is_refused_before_it_counts_twice(typed: str) -> None:
    with pytest.raises(UserError, match=r"twice, expected each value once"):
        check(["-m", typed], schema.Config)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("modle=din", "did you mean model?"),
        ("sed=3", "did you mean seed?"),
        ("~modl", "did you mean model?"),
        ("hydra/laucher=ray", "did you mean hydra/launcher?"),
        ("hydra/sweper/pruner=median", "did you mean hydra/sweeper/pruner?"),
        ("epochs=3", "there is no group or key epochs; did you mean training.epochs=3?"),
        ("n_trials=3", "there is no group or key n_trials; did you mean hydra.sweeper.n_trials=3?"),
        ("workers=4", "there is no group or key workers; did you mean sweep.workers=4?"),
        ("zzz=1", "there is no group or key zzz; python -m sweeper --help lists them"),
        ("model=_common", "no such option, expected one of boosted, bst"),
        ("model=schema_din", "no such option, expected one of boosted, bst"),
        ("--multirunn", "did you mean --multirun?"),
        ("--cfg=jb", "invalid choice: 'jb'"),
        ("weak", "'weak' is not understood, expected key=value or group=option"),
    ],
)
def test_a_misspelt_name_is_one_line_with_what_was_meant(typed: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        check([typed], schema.Config)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_command_of_multirun_is_one_line_with_what_was_meant() -> None:
    for typed, meant in {"verfy": "verify", "summarise": "summarize", "stdy=x": "study", "--hepl": "--help"}.items():
        with pytest.raises(UserError, match=f"did you mean {meant}") as caught:
            check([typed], schema.Phase4, sweeps=False, commands=COMMANDS)
        assert "\n" not in str(caught.value)
