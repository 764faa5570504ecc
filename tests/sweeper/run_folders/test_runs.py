"""``mdaf runs`` says what lies below a folder; ``mdaf runs clean`` removes runs, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from mdaf.processes.identity import this_process
from mdaf.processes.signals import Interrupted
from mdaf.sweeper.run_folders import cli
from mdaf.sweeper.tracking import tensorboard_events, tracked_run

Ended = tuple[int, str, str]
Typed = Callable[..., Ended]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """``mdaf runs`` with these words, in a folder of its own: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Ended:
        try:
            code = cli.main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


def make(path: str, value: float | None = None, *overrides: str, failed: bool = False) -> Path:
    """A run's folder as this program leaves it: finished with a value, failed, or interrupted; written an hour ago."""
    folder = Path("runs") / path
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/overrides.yaml").write_text("".join(f"- {text}\n" for text in overrides))
    (folder / "train.log").write_text("Traceback (most recent call last):\n" if failed else "begun\n")
    (folder / "last.pt").write_bytes(b"w" * 1000)
    if value is not None:
        result = {"state": "complete", "seed": 1, "data_hash": "d", "best": {"val_auc": value}}
        (folder / "result.json").write_text(json.dumps(result))
    for file in (*folder.iterdir(), folder):
        os.utime(file, (1e9, 1e9))
    return folder


def left() -> list[str]:
    """The run folders that are there."""
    return sorted(str(log.parent.relative_to("runs")) for log in Path("runs").rglob("train.log"))


def test_each_kind_is_listed_with_status_value_and_what_differs(typed: Typed) -> None:
    make("single/2026-01-01/10-00-00", 0.7, "model=bst")
    make("single/2026-01-01/10-00-01", failed=True)
    make("single/2026-01-01/10-00-02")
    for seed, value in enumerate((0.5, 0.6)):
        make(f"multirun/2026-01-01/10-00-00/{seed}", value, "model=din", f"seed={seed}")
    make("studies/s/0", 0.65, "sweep.study=s", "sweep.trial=0")
    make("phase4/s/balanced/seed-42", 0.61)
    running = make("running")
    (running / ".lock").write_text(this_process())
    code, out, _ = typed("--format", "json")
    rows = {row["path"]: row for row in json.loads(out)}
    assert code == 0
    assert {path.removeprefix("runs/"): (row["kind"], row["status"], row["best"]) for path, row in rows.items()} == {
        "multirun/2026-01-01/10-00-00": ("grid", "finished", 0.6),
        "phase4/s": ("phase4", "finished", 0.61),
        "running": ("run", "running", None),
        "single/2026-01-01/10-00-00": ("run", "finished", 0.7),
        "single/2026-01-01/10-00-01": ("run", "failed", None),
        "single/2026-01-01/10-00-02": ("run", "interrupted", None),
        "studies/s": ("sweep", "finished", 0.65),
    }
    assert rows["runs/multirun/2026-01-01/10-00-00"]["what"] == "model=din (differing in seed)"
    assert rows["runs/running"]["bytes"] > 1000
    assert typed("--format", "csv")[1].splitlines()[0].startswith("kind,path,status")
    assert "0.7000 val AUC" in typed()[1]
    assert "0.5000 val AUC" in typed("--each")[1]


def test_what_is_not_of_this_program_or_cannot_be_read_is_named(typed: Typed, tmp_path: Path) -> None:
    make("good", 0.5)
    (make("damaged", 0.5) / "result.json").write_text('{"state": ')
    (make("yaml", 0.5) / ".hydra/overrides.yaml").write_text("a: &a [*a")
    other = Path("runs/other")
    (other / ".hydra").mkdir(parents=True)
    (other / "app.log").touch()
    Path("runs/photos").mkdir()
    Path("runs/photos/cat.jpg").touch()
    Path("runs/link").symlink_to(tmp_path)
    code, out, err = typed("--format", "json")
    assert code == 0
    assert {row["path"]: row["status"] for row in json.loads(out)} == {
        "runs/damaged": "damaged",
        "runs/good": "finished",
        "runs/other": "foreign",
        "runs/yaml": "finished",
    }
    assert "runs/photos: holds no run" in err
    assert "runs/link: a link to a folder, which is not followed" in err
    assert typed("nowhere")[0] == 2


def test_clean_shows_and_refuses_without_a_terminal_and_removes_with_yes(typed: Typed) -> None:
    make("single/2026-01-01/10-00-00", failed=True)
    make("single/2026-01-01/10-00-01")
    make("single/2026-01-02/10-00-02", 0.5)
    assert typed("clean")[0] == 2
    code, out, err = typed("clean", "--failed")
    assert (code, "runs/single/2026-01-01/10-00-00" in out, "--yes" in err) == (2, True, True)
    assert len(left()) == 3
    assert typed("clean", "--failed", "--interrupted", "--yes")[:1] == (0,)
    assert left() == ["single/2026-01-02/10-00-02"]
    assert not Path("runs/single/2026-01-01").exists()
    assert "nothing to remove" in typed("clean", "--failed", "--yes")[1]


def test_ctrl_c_at_the_question_removes_nothing_and_does_not_speak_of_a_command_that_goes_on(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: str) -> str:
        raise Interrupted("by SIGINT")

    make("single/2026-01-01/10-00-00", failed=True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", interrupt)
    code, _, err = typed("clean", "--failed")
    assert (code, err.splitlines()[-1]) == (75, "interrupted by SIGINT; runs that were not removed yet stay")
    assert left() == ["single/2026-01-01/10-00-00"]


def test_all_but_the_best_of_each_grid_and_of_single_runs_are_removed(typed: Typed) -> None:
    for number, value in enumerate((0.5, 0.7, 0.6)):
        make(f"multirun/2026-01-01/10-00-00/{number}", value)
        make(f"single/2026-01-01/10-00-0{number}", value)
    assert typed("clean", "--all-but-best", "--yes")[0] == 0
    assert left() == ["multirun/2026-01-01/10-00-00/1", "single/2026-01-01/10-00-01"]


def test_what_runs_now_stays(typed: Typed) -> None:
    (make("single/2026-01-01/10-00-00") / ".lock").write_text(this_process())
    make("multirun/2026-01-01/10-00-00/0", 0.5)
    (make("multirun/2026-01-01/10-00-00/1", 0.6) / ".lock").write_text(this_process())
    (make("multirun/2026-01-01/11-00-00/0", failed=True) / "train.log").touch()
    Path("runs/multirun/2026-01-01/11-00-00/0/last.pt").touch()  # written now: its grid may be between two runs
    before = left()
    code, *said = typed("clean", "--failed", "--interrupted", "--all-but-best", "--yes")
    assert code == 0
    assert left() == before
    assert "stays: runs/multirun/2026-01-01/11-00-00/0: its grid wrote something in the last minute\n" in "".join(said)


def test_what_a_study_or_a_report_refers_to_stays(typed: Typed) -> None:
    make("multirun/2026-01-01/10-00-00/0", 0.5)
    make("multirun/2026-01-01/10-00-00/1", 0.6)
    make("mine/run", failed=True)
    make("studies/s/3", None, "sweep.study=gone", failed=True)
    make("phase4/s/balanced/seed-42")
    report = Path("runs/phase4/s/report/report.json")
    report.parent.mkdir()
    folder = "../../../multirun/2026-01-01/10-00-00/0"
    report.write_text(json.dumps({"inputs": {"runs": [{"folder": folder}, {"folder": 7}, "x"]}}))
    study = optuna.create_study(storage="sqlite:///runs/any-name.db", study_name="any")
    trial = study.ask()
    trial.set_user_attr("run_dir", "/formerly/here/runs/mine/run")
    before = left()
    code, out, err = typed("clean", "--failed", "--interrupted", "--all-but-best", "--yes")
    assert (code, left()) == (0, before)
    assert "nothing to remove" in out
    for reason in (f"report {report}", "study any", "study gone, which no database asked here has", "a Phase 4"):
        assert reason in err


def test_a_reference_holds_through_links_detours_and_from_above_the_folder_that_is_cleaned(typed: Typed) -> None:
    for number in range(3):
        make(f"single/2026-01-01/10-00-0{number}", failed=True)
    Path("best").symlink_to("runs/single/2026-01-01/10-00-00")
    Path("elsewhere").symlink_to("runs/single/2026-01-01")
    report = Path("runs/mine/report.json")
    report.parent.mkdir()
    paths = ("../../best", "../single/2026-01-02/../2026-01-01/10-00-01")
    report.write_text(json.dumps({"inputs": {"runs": [{"folder": path} for path in paths]}}))
    study = optuna.create_study(storage="sqlite:///runs/studies.db", study_name="s")
    study.ask().set_user_attr("run_dir", "runs/single/2026-01-01/10-00-02")
    before = left()
    for folder in ("runs", "runs/single/2026-01-01", "elsewhere"):
        assert typed("clean", folder, "--failed", "--yes")[:1] == (0,)
        assert left() == before


@pytest.mark.parametrize("broken", ["runs/p/report/report.json", "runs/studies.db"])
def test_nothing_is_removed_while_it_is_not_known_what_must_stay(typed: Typed, broken: str) -> None:
    make("failed", failed=True)
    Path(broken).parent.mkdir(parents=True, exist_ok=True)
    Path(broken).write_bytes(b"SQLite format 3\x00 and then nothing" if broken.endswith("db") else b'{"inputs": ')
    code, _, err = typed("clean", "--failed", "--yes")
    assert (code, left()) == (2, ["failed"])
    assert broken.rpartition("/")[2] in err


def test_a_folder_with_a_file_of_somebody_else_or_with_a_link_stays(typed: Typed, tmp_path: Path) -> None:
    (make("notes", failed=True) / "notes.txt").touch()
    (make("nested", failed=True) / ".hydra" / "mine.yaml").touch()
    (make("linked", failed=True) / "best.pt").symlink_to(tmp_path / "precious")
    outside = make("../outside", failed=True)
    Path("runs/elsewhere").symlink_to(outside.absolute())
    make("ours", failed=True)
    code, out, err = typed("clean", "--failed", "--yes")
    assert (code, left()) == (0, ["linked", "nested", "notes"])
    assert "runs/notes" not in out  # what is shown before the question is what goes
    assert out.splitlines()[-1].startswith("removed 1 run, ")
    assert outside.is_dir()
    for stranger in ("notes.txt", ".hydra/mine.yaml", "best.pt"):
        assert f"holds {stranger}, which this program did not write" in err


def test_a_removal_that_was_killed_is_ended_by_the_next_one(typed: Typed) -> None:
    Path(make("single/2026-01-01/10-00-00", failed=True)).rename("runs/single/.removed-10-00-00-1a2b")
    hidden = make("single/.removed-mine", failed=True)
    (hidden / "thesis.tex").touch()
    assert ".removed-10-00-00-1a2b: a removal was cut short" in typed()[2]
    assert typed("clean", "--failed", "--yes")[0] == 1
    assert left() == ["single/.removed-mine"]


def test_a_folder_that_another_clean_has_removed_meanwhile_is_no_error_and_is_not_counted(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("one", failed=True)
    make("two", failed=True)
    removed: list[int] = []

    def twice(root: Path, folder: Path) -> str | None:
        removed.append(1)
        assert cli.remove_leftover(root, folder) is None
        return remove(root, folder)

    remove = cli.remove
    monkeypatch.setattr(cli, "remove", twice)
    code, out, _ = typed("clean", "--failed", "--yes")
    assert (code, left(), len(removed)) == (0, [], 2)
    assert out.splitlines()[-1].startswith("removed 0 runs")


def test_what_a_tracker_has_written_in_a_run_goes_with_it(typed: Typed) -> None:
    for name, inner in (("tracked", "events.out.tfevents.1.host.2.0"), ("mine", "notes.txt")):
        folder = make(name, failed=True)
        (folder / tracked_run.NAME).write_text("{}")
        (folder / tensorboard_events.FOLDER).mkdir()
        (folder / tensorboard_events.FOLDER / inner).touch()
    code, _, err = typed("clean", "--failed", "--yes")
    assert (code, left()) == (0, ["mine"])
    assert "holds tensorboard/notes.txt, which this program did not write" in err


def test_what_weights_and_biases_keeps_in_a_run_goes_with_it(typed: Typed) -> None:
    for name, stranger in (("tracked", ""), ("mine", "thesis")):
        kept = make(name, failed=True) / "wandb"
        (kept / "offline-run-20261130_004400-ab12cd34/files").mkdir(parents=True)
        (kept / "offline-run-20261130_004400-ab12cd34/files/config.yaml").touch()
        (kept / "latest-run").symlink_to("offline-run-20261130_004400-ab12cd34")
        (kept / "debug-internal.log").touch()
        if stranger:
            (kept / stranger).touch()
    code, _, err = typed("clean", "--failed", "--yes")
    assert (code, left()) == (0, ["mine"])
    assert "holds wandb/thesis, which this program did not write" in err
