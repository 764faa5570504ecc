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
