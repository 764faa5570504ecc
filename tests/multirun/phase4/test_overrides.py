"""What of a study goes into the runs of Phase 4: code never does, unless it is typed and allowed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from mdaf import conf
from mdaf.errors import UserError
from mdaf.multirun.__main__ import main
from mdaf.multirun.phase4.overrides import overrides_of, split
from mdaf.multirun.phase4.plan import Winner
from mdaf.sweeper.hydra_ext.configs.sources import Configs
from mdaf.sweeper.trials.admitted import sorted_out

MINE = "model._target_=mine.Model"


def winner(*said: str) -> Winner:
    taken, refused = sorted_out(said, "base")
    return Winner("base", 3, 0.7, tuple(taken), refused)


def test_a_class_that_a_study_names_is_run_only_if_it_is_allowed_and_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    trial, configs = winner("model=din", MINE), Configs(folder="own")
    with pytest.raises(UserError, match=r"model._target_=mine.Model: a key .* may name code; nothing of it is run"):
        overrides_of(trial, [], configs)
    monkeypatch.setattr("mdaf.naming.allowed.STARTED_WITH", "mine.Model")
    line = rf"type it: mdaf-phase4 --config-dir own study=base {MINE}$"
    with pytest.raises(UserError, match=line.replace(".", r"\.")):
        overrides_of(trial, [], configs)
    assert overrides_of(trial, [MINE], configs) == ("model=din", MINE)


@pytest.mark.parametrize("said", ["+model._partial_=true", "model.head._target_=mine.Model", "data._target_=os.system"])
def test_no_permission_for_a_class_lets_a_study_name_other_code(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdaf.naming.allowed.STARTED_WITH", "mine.*")
    with pytest.raises(UserError, match="nothing of it is run"):
        overrides_of(winner(said), [], Configs())


def test_a_tracker_that_is_typed_reaches_the_runs() -> None:
    conf.register()
    typed = split(["study=s", "tracker=mlflow", "tracker.uri=file:./here", "device=cpu"])
    with initialize_config_module("mdaf.conf"):
        config = compose("phase4", overrides=typed)
    assert config.run_tracker == ["tracker=mlflow", "tracker.uri=file:./here"]
    assert config.overrides == ["device=cpu"]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("tracker=mlfow", "tracker=mlfow: no such option, expected .*; did you mean tracker=mlflow"),
        ("tracker.projct=x", "tracker.projct: there is no such key; did you mean tracker.project=x"),
        ("tracker.qqqq=x", r"tracker.qqqq: there is no such key; \S*mdaf --cfg job shows all that there are"),
        ("tracker.artifacts=[sumary]", "tracker.artifacts: found sumary, .*did you mean summary"),
    ],
)
def test_a_mistake_in_the_tracker_of_runs_is_said_before_any_of_them_starts(
    typed: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mdaf-phase4", "study=s", typed])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert re.search(line, capsys.readouterr().err)
