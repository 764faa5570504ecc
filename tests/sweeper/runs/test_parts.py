"""A run that other code, or another device, goes on with says so."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mdaf.multirun.analysis.judging.versions import of_other_code
from mdaf.sweeper.machine.watchdog import Watchdog
from mdaf.sweeper.runs import provenance
from mdaf.sweeper.runs.parts import changes, joined, part_from
from tests.sweeper.inside import run

A, B = "a" * 40, "b" * 40
IDENTITY = {"commit": A, "device": "cuda: H100", "precision": "bf16", "versions": {"torch": "2.11"}}


class Killed(BaseException):
    """Ends a run as SIGKILL does."""


@pytest.mark.slow
def test_a_run_that_another_commit_goes_on_with_names_both_and_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["training.epochs=2", "training.train_sample=200", "training.checkpoint_seconds=0", "hydra.run.dir=one"]
    step_of = Watchdog.step

    def step(self: Watchdog, epoch: int, step: int) -> None:
        if (epoch, step) == (2, 4):
            raise Killed
        step_of(self, epoch, step)

    monkeypatch.setattr(provenance, "commit", lambda: A)
    with monkeypatch.context() as patch:
        patch.setattr(Watchdog, "step", step)
        with pytest.raises(Killed):
            run(tmp_path, *typed)
    monkeypatch.setattr(provenance, "commit", lambda: B)
    assert run(tmp_path, *typed, "resume=auto") == 0
    assert f"from epoch 2, step 3 on: commit {A}, now {B}" in capsys.readouterr().err
    result = json.loads((tmp_path / "one/result.json").read_text())
    assert result["commit"] == f"{A}, then {B}"
    assert [(part["epoch"], part["step"], part["commit"]) for part in result["parts"]] == [(1, 0, A), (2, 3, B)]
    assert f"commit           {A}, then {B}" in (tmp_path / "one/summary.txt").read_text()
    assert run(tmp_path, *typed, "resume=auto") == 0  # a finished run has no further part
    assert json.loads((tmp_path / "one/result.json").read_text()) == result


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("device", "cpu: x86_64, 4 threads", "device cuda: H100, now cpu: x86_64, 4 threads"),
        ("precision", "fp32", "precision bf16, now fp32"),
        ("versions", {"torch": "2.13"}, "versions torch 2.11, now torch 2.13"),
    ],
)
def test_whatever_trains_otherwise_is_a_part_of_its_own(name: str, value: Any, said: str) -> None:
    before, after = part_from(IDENTITY, 1, 0), part_from(IDENTITY | {name: value}, 3, 7)
    assert changes(before, after) == [said]
    assert joined([before, after, before], name) == f"{IDENTITY[name]}, then {value}, then {IDENTITY[name]}"
    assert changes(before, part_from(IDENTITY, 3, 7)) == []


def test_two_edits_of_one_commit_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    (tmp_path / "sweeper/runs").mkdir(parents=True)
    code = tmp_path / "sweeper/runs/provenance.py"
    code.write_text("1")
    git("init")
    git("add", "-A")
    git("commit", "-m", "one")
    monkeypatch.setattr(provenance, "__file__", str(code))

    def commit() -> str:
        provenance.commit.cache_clear()
        return provenance.commit()

    try:
        clean = commit()
        assert len(clean) == 40
        (tmp_path / "sweeper/new.py").write_text("a model of one's own")
        found = [commit()]
        for text in ("2", "3"):
            code.write_text(text)
            found.append(commit())
        assert commit() == found[-1]
        assert len(set(found)) == 3
        assert all(one.startswith(f"{clean}+changes.") for one in found)
    finally:
        monkeypatch.undo()
        provenance.commit.cache_clear()


def test_runs_of_other_code_are_said_and_those_of_this_code_are_not() -> None:
    assert of_other_code([A, A], A) is None
    assert of_other_code([A, A], None) is None
    compared = of_other_code([A, B], None)
    assert compared is not None
    assert compared.startswith("1 run of commit aaaaaaaaaaaa and 1 run of commit bbbbbbbbbbbb; a difference")
    said = of_other_code([A, A, f"{A}+changes.12345678"], B)
    assert said is not None
    assert said.startswith(
        "2 runs of commit aaaaaaaaaaaa and 1 run of commit aaaaaaaaaaaa+changes.12345678, while this is"
    )
