"""From a study to its report, with training replaced by made-up figures."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mdaf import conf
from mdaf.errors import UserError
from mdaf.multirun.phase4 import plan as phase4
from mdaf.multirun.phase4 import points
from mdaf.multirun.phase4.candidates import find_candidates, points_of
from mdaf.multirun.phase4.overrides import split
from mdaf.multirun.phase4.plan import open_study
from mdaf.multirun.phase4.points import composed
from mdaf.multirun.pipeline import decide
from mdaf.multirun.report import writer
from mdaf.multirun.report.verify import verify
from mdaf.sweeper.hydra_ext.configs.sources import Configs
from tests.multirun.fakes import STUDY, WIDE, Trainer, history, make_study, noisy, settings, write_run
from tests.sweeper.tiny import TINY


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: Path) -> Path:
    """A working directory with a study; the store that its runs name is prepared once for all tests."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    os.symlink(stores, tmp_path / "runs/stores")
    monkeypatch.setattr(writer, "CHARTS", {})  # the writer's own tests draw them
    conf.register()
    return tmp_path


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


def train(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Trainer:
    trainer = Trainer(noisy, **options)
    monkeypatch.setattr(phase4, "launch", trainer)
    return trainer


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_a_study_is_taken_to_its_verdict(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(here)
    train(monkeypatch)
    folder = decide(settings(here, "confirm.top=1"))
    report = report_of(folder)
    confirmation = report["figures"]["confirmation"]
    assert [row["name"] for row in confirmation["candidates"]] == ["trial-3", "balanced"]
    best = confirmation["candidates"][0]
    assert best["optimism"] == pytest.approx(0.74 - best["mean"])
    assert best["seeds"] == [1001, 1002]
    balanced = confirmation["candidates"][1]  # not the best, but the study tried it
    assert (balanced["trial"], balanced["sweep_value"]) == (1, 0.71)
    named = {"trial-3": "winner", "balanced": "balanced"}[confirmation["winner"]]
    assert report["inputs"]["winner"] == named
    for block in report["figures"]["configurations"].values():
        assert block["seeds"] == [42, 123, 456, 789, 2024]
    seeds = report["inputs"]["seeds"]
    assert not set(seeds["search"]) & {*seeds["confirmation"], *seeds["phase 4"]}
    assert {path.name for path in folder.iterdir()} >= {"report.json", "report.md", "report.html"}
    assert verify(folder / "report.json") == []


def test_the_winner_of_a_wide_sweep_is_repeated_whole_and_balanced_has_its_learning_rate_alone(here: Path) -> None:
    url = make_study(here, space=WIDE)
    wide = settings(here, "confirm.top=1")
    study = open_study(url, STUDY)
    candidates = find_candidates(study, wide, here)
    assert [candidate.point.name for candidate in candidates] == ["trial-3", "balanced"]
    own = {"training.learning_rate=0.001", "regularization.embedding_l2=0.002", "regularization.dropout=0.22"}
    for winner, balanced in (
        points_of(["winner", "balanced"], candidates[0].point, study),
        [candidate.point for candidate in candidates],
    ):
        assert own <= set(winner.overrides)
        assert own & set(balanced.overrides) == {"training.learning_rate=0.001"}


def test_the_balanced_trial_of_a_wide_sweep_is_the_balanced_point_and_not_compared_with_itself(here: Path) -> None:
    url = make_study(here, space=WIDE, values=(0.70, 0.75, 0.69, 0.74), named={1: "balanced"})
    study = open_study(url, STUDY)
    wide = settings(here, "confirm.top=1", "design=sequential")
    candidates = find_candidates(study, wide, here)
    assert [(candidate.point.name, candidate.point.trial) for candidate in candidates] == [
        ("balanced", 1),
        ("trial-3", 3),
    ]
    runner_up, balanced = points_of(["winner", "balanced"], candidates[1].point, study)
    assert "regularization.embedding_l2=0.002" in balanced.overrides
    assert "regularization.dropout=0.22" in runner_up.overrides


def test_the_balanced_trial_and_the_balanced_point_are_one_candidate(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(here)
    trainer = train(monkeypatch)
    report = report_of(decide(settings(here, "confirm.top=4")))
    rows = {row["name"]: row for row in report["figures"]["confirmation"]["candidates"]}
    assert sorted(rows) == ["balanced", "trial-0", "trial-2", "trial-3"]
    assert (rows["balanced"]["trial"], rows["balanced"]["sweep_value"]) == (1, 0.71)
    assert len(trainer.trained) == len(set(trainer.trained))


@pytest.mark.parametrize("budget", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_an_interrupted_command_goes_on_and_repeats_no_finished_run(
    here: Path, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    make_study(here)
    trainer = train(monkeypatch)
    for _ in range(40):
        trainer.budget = budget
        try:
            folder = decide(settings(here, "seeds=[42,123]", "confirm.top=1", "points=[balanced,weak]"))
            break
        except KeyboardInterrupt:
            continue
    assert len(trainer.trained) == len(set(trainer.trained))
    configurations = report_of(folder)["figures"]["configurations"]
    assert len(trainer.trained) == 2 * (2 + len(configurations)) == 8
    assert all(block["seeds"] == [42, 123] for block in configurations.values())


def test_with_a_failed_seed_four_are_reported_and_it_says_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(here)
    trainer = train(monkeypatch, fails=[("weak", 456)])
    folder = decide(settings(here))
    report = report_of(folder)
    weak = report["figures"]["configurations"]["weak"]
    assert weak["seeds"] == [42, 123, 789, 2024]
    assert report["inputs"]["failed"] == {"weak": [456]}
    pair = next(row for row in report["figures"]["comparisons"] if row["b"] == "weak")
    assert (pair["n"], pair["seeds"]) == (4, [42, 123, 789, 2024])
    assert "Runs failed: weak on seed 456." in (folder / "report.md").read_text()
    assert report["figures"]["evidence"]["seeds"] == 4
    assert verify(folder / "report.json") == []
    trainer.fails, before = (), len(trainer.trained)
    assert report_of(decide(settings(here)))["figures"]["configurations"]["weak"]["seeds"][2] == 456
    assert trainer.trained[before:] == [("weak", 456)]


def test_a_point_without_any_run_is_an_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(here)
    train(monkeypatch, fails=[("weak", 42)])
    with pytest.raises(UserError, match="weak: every seed failed"):
        decide(settings(here, "seeds=[42]"))


def test_a_run_of_the_same_config_and_data_is_reused_wherever_it_lies(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(here)
    trainer = train(monkeypatch)
    weak = ["regularization.dropout=0.2", "regularization.weight_decay=1e-05", "regularization.label_smoothing=0.0"]
    write_run(here / "runs/single/one", composed([*TINY, *weak, "seed=42"]), history(0.7))
    write_run(here / "runs/single/two", composed([*TINY, *weak, "seed=123", "training.epochs=3"]), history(0.7))
    report = report_of(decide(settings(here, "seeds=[42,123]")))
    assert ("weak", 42) not in trainer.trained
    assert ("weak", 123) in trainer.trained  # of another configuration
    folders = {run["id"]: run["folder"] for run in report["inputs"]["runs"]}
    assert folders["phase 4/weak/seed-42"].endswith("runs/single/one")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=[7,42]", r"seed 7: found in both the search and Phase 4 \(seeds\)"),
        ("confirm.seeds=[7]", r"seed 7: found in both the search and confirmation"),
        ("confirm.seeds=[1001,42]", r"seed 42: found in both confirmation \(confirm.seeds\) and Phase 4"),
        ("seeds=[42,42]", r"seeds: found \[42, 42\], expected one or more, each once"),
        ("epochs=5", "a complete run: none of the study's run folders that are here holds 5 epochs"),
        ("points=[winner,best]", "points: found 'best', expected winner, balanced, weak, strong"),
    ],
)
def test_what_would_spoil_the_verdict_is_refused_before_anything_is_trained(
    here: Path, monkeypatch: pytest.MonkeyPatch, override: str, message: str
) -> None:
    make_study(here)
    trainer = train(monkeypatch)
    with pytest.raises(UserError, match=message):
        decide(settings(here, override))
    assert trainer.trained == []


def test_a_study_whose_runs_all_slowed_down_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(here, seconds=(1230.0, 43200.0))
    train(monkeypatch)
    with pytest.raises(UserError, match="lacks a run without slow-down"):
        decide(settings(here))


def test_the_plan_says_how_long_and_nothing_starts_without_consent(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(here)
    trainer = train(monkeypatch)
    with pytest.raises(UserError, match="start with --yes"):
        decide(settings(here, "ask=true"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(SystemExit):
        decide(settings(here, "ask=true"))
    assert trainer.trained == []
    said = capsys.readouterr().out
    assert "confirmation: trial-3, balanced; 4 runs of 2 epochs, 0 are there already" in said
    assert "about 48 min for the 24 that are missing, at the 60.0 s an epoch" in said
    monkeypatch.setattr("builtins.input", lambda _: "y")
    decide(settings(here, "ask=true", "seeds=[42]"))
    assert trainer.trained


def test_once_all_is_there_nobody_is_asked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(here)
    trainer = train(monkeypatch)
    decide(settings(here, "seeds=[42]"))
    before = len(trainer.trained)
    decide(settings(here, "seeds=[42]", "ask=true"))
    assert len(trainer.trained) == before


def test_without_confirmation_the_studys_best_trial_wins(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(here)
    train(monkeypatch)
    report = report_of(decide(settings(here, "confirm.top=0", "seeds=[42]", "points=[winner]")))
    assert report["figures"]["confirmation"] is None
    assert (report["inputs"]["winner"], report["inputs"]["winner_trial"]) == ("winner", 3)
    assert report["inputs"]["study"] == STUDY


def test_a_path_that_only_the_study_names_has_to_be_typed_and_then_counts(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(here, overrides=["data.root=elsewhere"])
    train(monkeypatch)
    with pytest.raises(UserError, match=r"data\.root=elsewhere.*mdaf-phase4 study=made-up data\.root=elsewhere"):
        decide(settings(here))
    typed = split(["data.root=runs/stores", "confirm.top=0"])
    assert decide(settings(here, *typed, "points=[winner]", "seeds=[42]")).is_dir()


@pytest.mark.parametrize("said", ["+hydra.callbacks.x._target_=a.b", "model._target_=os.system", "seed=${oc.env:HOME}"])
def test_nothing_is_trained_from_a_study_that_names_code(
    here: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    make_study(here, overrides=[said])
    trainer = train(monkeypatch)
    with pytest.raises(UserError, match=r"study made-up, trial 3: .*nothing of it is run"):
        decide(settings(here))
    assert trainer.trained == []


def test_configs_of_the_users_own_are_typed_again_and_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(here, overrides=["model=mine"], typed_with={"program": "mdaf", "folder": "own"})
    (here / "own/model").mkdir(parents=True)
    shutil.copy(Path(conf.__file__).parent / "model/mdaf_mamba.yaml", here / "own/model/mine.yaml")
    train(monkeypatch)
    with pytest.raises(UserError, match=r"type it: mdaf-phase4 --config-dir own study=made-up"):
        decide(settings(here))
    monkeypatch.setattr(points, "_configs", Configs(folder="own"))
    assert decide(settings(here, "confirm.top=0", "points=[winner]", "seeds=[42]")).is_dir()


def test_what_phase_4_sets_itself_is_not_typed(here: Path) -> None:
    for typed, instead in (("seed=3", "seeds="), ("regularization=weak", "points="), ("training.epochs=3", "epochs=")):
        with pytest.raises(UserError, match=instead):
            split([typed])


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_plan_leaves_the_runs_and_the_report_of_the_one_before_as_they_are(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(here)
    trainer = train(monkeypatch)
    plan = ["seeds=[42]", "confirm.top=0", "points=[winner,balanced]"]
    first = decide(settings(here, *plan))
    before = files_below(first.parent)
    second = decide(settings(here, *plan, "epochs=3", "force=true"))  # no trial has so many
    assert trainer.trained == [("trial-3", 42), ("balanced", 42), ("trial-3-2", 42), ("balanced-2", 42)]
    assert (first.name, second.name) == ("report", "report-2")
    now = files_below(first.parent)
    assert {path: now[path] for path in before} == before
    assert verify(first / "report.json") == verify(second / "report.json") == []
    assert decide(settings(here, *plan)) == first  # the plan of before is where it was
    assert len(trainer.trained) == 4


def test_of_two_commands_on_one_study_the_second_is_refused_and_the_first_is_not_disturbed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(here)
    plan = ["seeds=[42]", "confirm.top=0", "points=[winner,balanced]"]
    trainer = train(monkeypatch)
    refused = []

    def launch(*arguments: Any) -> int:
        before = files_below(here / "phase4")
        with pytest.raises(UserError) as error:
            decide(settings(here, *plan))
        refused.append(str(error.value))
        assert files_below(here / "phase4") == before
        return trainer(*arguments)

    monkeypatch.setattr(phase4, "launch", launch)
    report = report_of(decide(settings(here, *plan)))
    assert len(refused) == 2
    assert all("phase4/made-up: another process works in this folder" in line for line in refused)
    assert (report["inputs"]["failed"], len(trainer.trained)) == ({}, 2)


def test_a_run_of_another_studys_trial_of_that_number_is_not_taken_for_the_trials(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(here, others={2: "another one's"})
    train(monkeypatch)
    report = report_of(decide(settings(here, "seeds=[42]", "confirm.top=1", "confirm.seeds=[1001]")))
    assert [trial["trial"] for trial in report["inputs"]["trials"] if trial["run"] is None] == [2]


def of_another_commit(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"commit": "d" * 40}))


def test_runs_of_several_commits_are_asked_about_and_said_first_of_all(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(here)
    train(monkeypatch)
    plan = ["seeds=[42,123]", "confirm.top=0", "points=[balanced]"]
    folder = decide(settings(here, *plan))
    of_another_commit(folder.parent / "balanced/seed-123")
    capsys.readouterr()
    with pytest.raises(UserError, match="start with --yes"):
        decide(settings(here, *plan, "ask=true"))
    assert "reused are 1 run of commit cccccccccccc and 1 run of commit dddddddddddd" in capsys.readouterr().out
    text = (decide(settings(here, *plan)) / "report.md").read_text()
    first = text.partition("## Verdict")[2].strip().splitlines()[2]
    assert "The runs that are compared: 1 run of commit cccccccccccc and 1 run of commit dddddddddddd" in first
