"""Processes that leave when the one that started them does, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdaf.processes.children import PIPE_VARIABLE, Child, import_alike
from tests.processes import ROOT

# A job that saves where it stands when it is asked to leave; its folder is typed behind it.
JOB = """
import os, sys, time
from pathlib import Path
from mdaf.processes import signals
from mdaf.processes.children import follow_parent

def work(folder):
    follow_parent()
    with signals.listening(), signals.deferred():
        Path(folder, "begun").write_text(str(os.getpid()))
        while not signals.asked():
            time.sleep(0.01)
        time.sleep(0.2)
        Path(folder, "saved").touch()
    raise SystemExit(75)

if __name__ == "__main__":
    work(sys.argv[1])
"""
STARTS = {
    "child": "from mdaf.processes.children import Child; Child([sys.executable, 'job.py', '.']).wait()",
    "multiprocessing": "import multiprocessing as m; p = m.get_context('spawn').Process(target=job.work, args=('.',)); "
    "p.start(); p.join()",
    "joblib": "import joblib; joblib.Parallel(2)([joblib.delayed(job.work)('.'), joblib.delayed(len)('')])",
}


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}."}


def wait_for(file: Path, seconds: float = 60) -> str:
    until = time.monotonic() + seconds
    while not (file.exists() and (file.stat().st_size or file.name == "saved")):
        assert time.monotonic() < until, file
        time.sleep(0.02)
    return file.read_text()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind == "joblib" else kind for kind in STARTS]
)
def test_a_process_whose_parent_is_killed_outright_saves_and_leaves(tmp_path: Path, kind: str) -> None:
    if kind == "joblib":
        pytest.importorskip("joblib")
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "parent.py").write_text(f"import sys\nimport job\nif __name__ == '__main__':\n    {STARTS[kind]}\n")
    with subprocess.Popen([sys.executable, "parent.py"], cwd=tmp_path, env=environment()) as parent:
        child = int(wait_for(tmp_path / "begun"))
        parent.kill()
    wait_for(tmp_path / "saved")
    until = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


def test_a_child_that_is_let_go_saves_and_leaves_whatever_else_it_hears(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB)
    child = Child([sys.executable, "job.py", "."], environment(), cwd=tmp_path)
    wait_for(tmp_path / "begun")
    child.send_signal(signal.SIGINT)  # Ctrl-C reaches both, and the parent asks besides
    child.let_go()
    child.let_go()
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 75
    assert (tmp_path / "saved").exists()


def test_a_process_that_inherits_the_word_but_not_the_pipe_follows_nobody(tmp_path: Path) -> None:
    code = "from mdaf.processes import children; children.follow_parent(); print(children._watching)"
    for value in ("1:1", ""):
        end = subprocess.run(
            [sys.executable, "-c", code],
            env=environment() | {PIPE_VARIABLE: value},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        assert end.stdout == "False\n"


def test_children_of_a_console_script_import_nothing_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mdaf.py").write_text("raise SystemExit('a file of the user')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(sys, "path", [str(Path(sys.executable).parent), *sys.path])
    command = [sys.executable, "-m", "mdaf.streams"]
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    assert Child(command, stderr=subprocess.DEVNULL).wait() == 1  # what python -m does
    import_alike()
    assert Child(command).wait() == 0
