"""``verify`` and ``summarize`` as they are typed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdaf.multirun.__main__ import main, what_follows
from mdaf.multirun.commands import app
from mdaf.sweeper.runs.lock import locked
from mdaf.sweeper.study import cli
from tests.multirun.fakes import STUDY, history, make_study, write_run
from tests.sweeper.tiny import composed


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, value in ((42, 0.70), (123, 0.71), (456, 0.72)):
        write_run(tmp_path / f"runs/{seed}", composed(f"seed={seed}"), history(value))
    return tmp_path / "runs"


def test_finished_runs_are_summarized_and_their_report_holds(runs: Path) -> None:
    found = CliRunner().invoke(app, ["summarize", str(runs), "--out", "report"])
    assert found.exit_code == 0, found.output
    said = " ".join(found.output.split())
    assert "validation AUC 0.7100 ± 0.0100 (standard deviation) over 3 seeds (42, 123, 456)" in said
    held = CliRunner().invoke(app, ["verify", "report/report.json"])
    assert (held.exit_code, "figures of 3 runs hold" in held.output) == (0, True)


def test_a_summary_leaves_the_report_of_other_runs_and_one_that_is_being_written_as_it_is(runs: Path) -> None:
    def files() -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in sorted(Path().glob("report*/*"))}

    write = ["summarize", "--out", "report"]
    assert CliRunner().invoke(app, [*write, str(runs)]).exit_code == 0
    first = files()
    assert CliRunner().invoke(app, [*write, str(runs / "42"), str(runs / "123")]).exit_code == 0
    assert {name: content for name, content in files().items() if name in first} == first
    assert CliRunner().invoke(app, ["verify", "report-2/report.json"]).output.endswith("of 2 runs hold\n")
    assert CliRunner().invoke(app, [*write, str(runs)]).exit_code == 0  # the same runs: theirs is written again
    assert {Path(name).parent.name for name in files()} == {"report", "report-2"}
    before = files()
    with locked(Path("report")):
        refused = CliRunner().invoke(app, [*write, str(runs)]).exception
    assert "report: another process works in this folder" in str(refused)
    assert str(refused).endswith("choose another folder with --out")
    assert files() == before


def test_a_report_that_does_not_hold_ends_with_code_one_and_the_names(runs: Path) -> None:
    CliRunner().invoke(app, ["summarize", str(runs), "--out", "report"])
    file = Path("report/report.json")
    report = json.loads(file.read_text())
    report["figures"]["ranking"][0]["val_auc"] = 0.9
    file.write_text(json.dumps(report))
    found = CliRunner().invoke(app, ["verify", str(file)])
    assert found.exit_code == 1
    assert "ranking[0].val_auc: the report says 0.9, the runs give 0.71" in found.output


def test_a_mistake_is_one_line_and_code_two(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["mdaf-phase4", "summarize", "absent"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: absent: no such folder, expected one of a finished run, or one that " + (
        "holds some\n"
    )


def test_the_commands_that_phase_4_shows_last_can_be_typed(runs: Path, tmp_path: Path) -> None:
    storage = make_study(tmp_path)
    CliRunner().invoke(app, ["summarize", str(runs), "--out", "a report"])
    shown = what_follows(Path("a report"), STUDY, storage)
    programs = {"mdaf-phase4": app, "mdaf-study": cli.app}
    for line in shown.values():
        program, *arguments = shlex.split(line)
        found = CliRunner().invoke(programs[program], arguments)
        assert found.exit_code == 0, found.output
