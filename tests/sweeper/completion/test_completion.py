"""The Tab key offers commands, groups, options, keys, flags and studies, and nothing that cannot be typed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from mdaf.sweeper.completion import cli
from mdaf.sweeper.completion.candidates import candidates
from mdaf.terminal.programs import SCRIPTS, WORDS


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("mdaf ru", ["runs"]),
        ("mdaf trai", None),
        ("mdaf training.ep", ["training.epochs="]),
        ("mdaf seed=1 model=ma", ["model=mamba4rec"]),
        ("mdaf check data=movielens_1", ["data=movielens_10m", "data=movielens_1m"]),
        ("mdaf hydra/sweeper/pruner=m", ["hydra/sweeper/pruner=median"]),
        ("mdaf hydra/sweeper/sampler=ra", ["hydra/sweeper/sampler=racing", "hydra/sweeper/sampler=random"]),
        ("mdaf --multi", ["--multirun"]),
        ("mdaf study best --format o", ["overrides"]),
        ("mdaf-study impo", ["importance"]),
        ("mdaf-study best --form", ["--format"]),
        ("mdaf runs clean --fa", ["--failed"]),
        ("mdaf runs cl", ["clean"]),
        ("mdaf data pre", ["prepare"]),
        ("mdaf data prepare data=synthetic_ti", ["data=synthetic_tiny"]),
        ("/somewhere/bin/mdaf-phase4 confirm.", ["confirm.seeds=", "confirm.top="]),
        ("mdaf phase4 ver", ["verify"]),
        ("mdaf completion z", ["zsh"]),
        ("mdaf seed=1 ru", []),
        ("other mo", []),
        ("mdaf", []),
    ],
)
def test_what_may_stand_in_the_place_of_the_last_word_is_offered(line: str, offered: list[str] | None) -> None:
    found = candidates(line)
    if offered is None:
        assert {"training=", "training.epochs=", "training.learning_rate="} <= set(found)
    else:
        assert found == offered


def test_neither_a_schema_nor_what_options_share_is_ever_offered() -> None:
    offered = [one for line in ("mdaf ", "mdaf model=", "mdaf data=", "mdaf check ") for one in candidates(line)]
    assert "model=bst" in offered
    assert set(WORDS) <= set(offered)
    assert [one for one in offered if "schema" in one or "_common" in one or "=_" in one or "._" in one] == []


def test_studies_are_offered_by_name_unless_a_shell_would_expand_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert candidates("mdaf study best --study ") == []
    (tmp_path / "runs").mkdir()
    with sqlite3.connect("runs/studies.db") as connection:
        connection.execute("CREATE TABLE studies (study_name TEXT)")
        connection.executemany("INSERT INTO studies VALUES (?)", [("deep",), ("$(touch x)",), ("dune",)])
    assert candidates("mdaf-study best --study d") == ["deep", "dune"]
    assert candidates("mdaf-study best --study ") == ["deep", "dune"]
    assert candidates("mdaf-phase4 study=d") == ["study=deep", "study=dune"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_takes_its_script_and_completes_every_command(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main([shell])
    text = capsys.readouterr().out
    assert all(name in text for name in SCRIPTS.values())
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(text)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_bash_replaces_what_follows_the_equals_sign_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["bash"])
    fake = tmp_path / "mdaf"
    fake.write_text('#!/bin/sh\n[ "$*" = "completion query mdaf model=b" ] && printf "model=boosted\\nmodel=bst\\n"\n')
    fake.chmod(0o755)
    asked = 'COMP_LINE="mdaf model=b x"; COMP_POINT=12; _mdaf_complete; echo "${COMPREPLY[@]}"'
    ran = subprocess.run(
        ["bash", "-c", f"{capsys.readouterr().out}\n{asked}"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "boosted bst\n"


def test_where_nothing_fits_nothing_is_printed_so_that_the_shell_completes_names_of_files(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli.main(["query", "mdaf predict runs/si"])
    assert capsys.readouterr().out == ""
    cli.main(["query", "mdaf ru"])
    assert capsys.readouterr().out == "runs\n"
