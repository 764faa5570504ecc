"""Phase 4 killed outright, as by a power cut: what was finished is not repeated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdaf.multirun.report.verify import verify
from tests.sweeper.tiny import ROOT, TINY, typed

COMMAND = [
    *("design=research", "points=[balanced,weak]", "seeds=[42,123]"),
    *("confirm.top=1", "confirm.seeds=[1001]", "resamples=20", "--yes"),
]


def killed_once_there_are(results: int, cwd: Path) -> None:
    """Starts Phase 4 in a process group of its own and kills the group when so many of its runs are finished."""
    with subprocess.Popen(
        [sys.executable, "-m", "multirun", *COMMAND],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        until = time.monotonic() + 250
        while len(finished(cwd)) < results and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def finished(cwd: Path) -> dict[Path, int]:
    """When each finished run of Phase 4 was written."""
    return {file: file.stat().st_mtime_ns for file in (cwd / "runs/phase4").rglob("result.json")}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_again_and_again_it_ends_with_a_report_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = ["-m", "hydra/sweeper=regularization", *TINY, "training.epochs=1", "hydra.sweeper.n_trials=2"]
    assert typed("sweeper", *sweep, cwd=tmp_path).returncode == 0
    before: dict[Path, int] = {}
    for results in (0, 1, 3):
        killed_once_there_are(results, tmp_path)
        now = finished(tmp_path)
        assert {file: now[file] for file in before} == before
        before = now
    last = typed("multirun", *COMMAND, cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    now = finished(tmp_path)
    assert {file: now[file] for file in before} == before
    assert len(before) >= 3
    monkeypatch.chdir(tmp_path)
    [file] = (tmp_path / "runs/phase4").rglob("report.json")
    assert verify(file) == []
    configurations = json.loads(file.read_text())["figures"]["configurations"]
    assert {name: block["seeds"] for name, block in configurations.items()} == {
        "balanced": [42, 123],
        "weak": [42, 123],
    }
