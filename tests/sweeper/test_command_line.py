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
        ("hydra/sweper/pruner=median", "did you mean hydra/sweeper/pruner=median?"),
        ("epochs=3", "there is no group or key epochs; did you mean training.epochs=3?"),
        ("n_trials=3", "there is no group or key n_trials; did you mean hydra.sweeper.n_trials=3?"),
        ("workers=4", "there is no group or key workers; did you mean sweep.workers=4?"),
        ("zzz=1", "there is no group or key zzz; python -m sweeper --help lists them"),
        ("model=null", "model=null: no such option, expected one of boosted, bst"),
        ("training=[1]", "training=[1]: no such option, expected one of default; leave it out"),
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


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("seed = 3", "did you mean seed=3?"),
        ("seed= 3", "did you mean seed=3?"),
        ("data=synthetic_tiny seed =3", "did you mean seed=3?"),
        ("training.ranking_at=[1, 3]", "type 'training.ranking_at=[1,3]'"),
        ("-m seed=1, 2", "type seed=1,2"),
        ("model.dcnv3", "did you mean model=dcnv3?"),
        ("model dcnv33", "did you mean model=dcnv3?"),
        ("dcnv3", "did you mean model=dcnv3?"),
        ("training.epochs:3", "did you mean training.epochs=3?"),
        ("training.lr", "did you mean training.learning_rate=...?"),
        ("--model=dcnv3", "did you mean model=dcnv3?"),
        ("--lr 1e-3", "did you mean training.learning_rate=1e-3?"),
        ("-multirun seed=1,2", "did you mean --multirun?"),
        ("+model=bst", "type model=bst"),
        ("data=logs/clicks.csv", "typed as data=event_log data.path=logs/clicks.csv"),
        ("-m model=bst,dinn", "did you mean din?"),
        ("sampler=gp", "did you mean hydra/sweeper/sampler=gp?"),
        ("sweep.n_trials=3", "did you mean hydra.sweeper.n_trials=3?"),
        ("--config-name phase3", "type experiment=phase3"),
        ("--config-name mine", "needs --config-dir FOLDER"),
        ("-m data=synthetic_tiny", "type python -m sweeper data=synthetic_tiny for one run"),
    ],
)
def test_a_word_of_another_form_is_one_line_with_the_line_to_type(typed: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        check(typed.split(), schema.Config)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "typed", ["hydra/launcher=submitit_slurm", "experiment=phase4", "seed=42", "hydra.mode=MULTIRUN"]
)
def test_one_run_may_need_m_for_its_launcher_or_its_experiment(typed: str) -> None:
    check(["-m", typed], schema.Config)


@pytest.mark.parametrize("elsewhere", ["sqlite:///elsewhere.db", "postgresql+psycopg://me:secret@host/studies"])
def test_a_sweep_into_another_database_than_the_study_commands_ask_is_refused(
    monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    monkeypatch.setenv("MDAF_STORAGE", elsewhere)
    with pytest.raises(UserError, match=r'type sweep.storage="\$MDAF_STORAGE"') as caught:
        check(["-m", "hydra/sweeper=regularization"], schema.Config)
    assert "secret" not in str(caught.value)
    with pytest.raises(UserError, match=r'type storage="\$MDAF_STORAGE"'):
        check(["study=x"], schema.Phase4, sweeps=False, commands=COMMANDS)
    check(["-m", "hydra/sweeper=regularization", f"sweep.storage={elsewhere.partition('+')[0]}:///x"], schema.Config)
    check(["-m", "seed=1,2"], schema.Config)
