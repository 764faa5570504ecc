"""A config that is refused leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeper.inside import run


@pytest.mark.parametrize(
    "mistake",
    ["regularization.dropout=1.2", "model._target_=os.system", "training.epochs=???", "~model"],
)
def test_a_config_that_is_refused_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    assert run(tmp_path, mistake, tiny=()) == 2
    assert capsys.readouterr().err.count("error: ") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["training.lr=1e-3"], "training.lr: there is no such key; did you mean training.learning_rate=1e-3?"),
        (
            ["-m", "hydra/sweeper=regularization", "training.lr=interval(1e-4,1e-3)"],
            "training.lr: there is no such key; did you mean training.learning_rate=interval(1e-4,1e-3)?",
        ),
        (["-m", "training.lr=1,2"], "training.lr: there is no such key; did you mean training.learning_rate=1,2?"),
        (["+training.lr=1e-3"], "training.lr: nothing reads this key; did you mean training.learning_rate?"),
        (["model.sequence.stat=3"], "model.sequence.stat: there is no such key; did you mean model.sequence.state=3?"),
        (
            ["data.path=~/a.csv"],
            "data.path=~/a.csv: cannot be read; a ~ is not expanded within an override, type data.path=$HOME",
        ),
        (["data.path=clicks.csv"], "data.path: the data that is chosen has no such key; data=event_log, "),
        (
            ["model=deepfm", "model.sequence.hidden=8"],
            "model.sequence.hidden: the model that is chosen has no such key; model=bst, ",
        ),
        (["~training.epohcs"], "~training.epohcs: there is no such key; did you mean ~training.epochs?"),
        (["~model.withot"], "~model.withot: there is no such key; did you mean ~model.without?"),
        (["+foo=1"], "foo: nothing reads this key"),
        (["-m", "+foo=1,2"], "foo: nothing reads this key"),
        (["-m", "+training.lr=interval(0,1)", "hydra/sweeper=regularization"], "training.lr: nothing reads this key"),
        (["-m", "model=din,bst", "training.lr=1"], "training.lr: there is no such key"),
        (["-m", "hydra/sweeper=regularization", "+foo=interval(0,1)"], "foo: nothing reads this key"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_an_override_that_cannot_be_meant_is_one_line_with_what_to_type_instead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], typed: list[str], said: str
) -> None:
    assert run(tmp_path, *typed, tiny=()) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {said}")
    assert not list(tmp_path.rglob("result.json"))


def test_arguments_whose_quotes_no_shell_took_off_are_read_as_they_were_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "'model.head=[8, ", "7.5]'", tiny=()) == 2
    assert "error: model.head" in capsys.readouterr().err


def test_a_folder_that_was_there_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.csv").write_text("of another run")
    assert run(tmp_path, "seed=1", "training.epochs=0", "hydra.run.dir=run", tiny=()) == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]


def test_what_only_a_run_can_resolve_is_not_refused_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Known within the run alone, where this config is refused for another reason.
    typed = ["data.root=${hydra:runtime.output_dir}", "data=user_behavior", "data.path=absent.csv"]
    assert run(tmp_path, *typed, "hydra.run.dir=run", tiny=()) == 2
    assert "absent.csv does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["seed=1,2,3", "training.epochs=0"],
            "training.epochs: found 0, expected >= 1; set it with training.epochs=...",
        ),
        (["model=din,bst", "model.head=[0]"], "model.head: found 0, expected >= 1; set it with model.head=..."),
        (["experiment=phase4", "training.batch_size=-1"], "training.batch_size: found -1, expected >= 1; set it with "),
        (
            ["seed=1,2", "device.name=gpu"],
            "device.name: found gpu, expected auto, cpu, mps, cuda, or one GPU of several",
        ),
        (
            ["regularization.dropout=0.1,2", "seed=1,2,3"],
            "regularization.dropout: found 2.0, expected a number in [0, 1); set it with regularization.dropout=...; "
            "found in 3 of 6 jobs, with regularization.dropout=2; none was launched",
        ),
        (
            ["model=din,bst", "model.head=[8],[0],[4,0]", "training.epochs=1,-1"],
            "model.head: found 0, expected >= 1; set it with model.head=...; found in 8 of 12 jobs, with "
            "model=din model.head=[0] training.epochs=1, ",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_grid_with_a_value_that_jobs_cannot_have_is_refused_once_before_any_is_launched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], typed: list[str], said: str
) -> None:
    assert run(tmp_path, "-m", *typed, tiny=()) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("regularization.dropout=interval(0.2,1.5)", "regularization.dropout: found 1.5"),
        ("regularization.dropout=interval(-0.2,0.5)", "regularization.dropout: found -0.2"),
        ("regularization.label_smoothing=choice(0.1,0.2,0.7)", "regularization.label_smoothing: found 0.7"),
    ],
)
def test_a_space_is_checked_at_its_ends_and_for_each_choice_before_any_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], space: str, said: str
) -> None:
    assert run(tmp_path, "-m", "hydra/sweeper=regularization", space) == 2
    assert f"the search space: {said}" in capsys.readouterr().err
    assert not (tmp_path / "runs/studies.db").exists()
