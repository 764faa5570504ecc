"""Worker processes of one sweep: which end they come to, and what follows."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from mdaf.processes.interruption import EXIT_HUNG
from mdaf.sweeper.search.running import workers
from mdaf.sweeper.search.running.workers import RESTARTS, WorkerError, run_workers

# A worker that leaves a line each time it begins, and ends with the next of the codes that are typed after it.
WORKER = """
import os, sys
name, *codes = sys.argv[1:]
with open(f"{name}-{os.environ['MDAF_SWEEP_WORKER']}", "a+") as begun:
    begun.write("begun\\n")
    begun.seek(0)
    times = len(begun.readlines())
os._exit(int(codes[min(times, len(codes)) - 1]))
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.01)


def ends_with(monkeypatch: pytest.MonkeyPatch, folder: Path, *codes: int) -> None:
    """Workers end with these codes, one after the other."""
    monkeypatch.setattr(sys, "orig_argv", ["python", "-S", "-c", WORKER, str(folder / "worker"), *map(str, codes)])


def times_begun(folder: Path) -> list[int]:
    return [len(path.read_text().splitlines()) for path in sorted(folder.iterdir())]


def test_a_worker_that_hung_is_replaced_and_the_sweep_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ends_with(monkeypatch, tmp_path, EXIT_HUNG, 0)
    with caplog.at_level(logging.WARNING):
        run_workers(2)
    assert times_begun(tmp_path) == [2, 2]
    assert sorted(caplog.messages) == [f"worker {number} hung and is replaced" for number in (0, 1)]


def test_workers_that_hang_again_and_again_end_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends_with(monkeypatch, tmp_path, EXIT_HUNG)
    with pytest.raises(WorkerError, match=f"workers were lost {RESTARTS + 1} times, the last one hung"):
        run_workers(1)
    assert times_begun(tmp_path) == [RESTARTS + 1]


def test_a_worker_that_ends_with_an_error_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends_with(monkeypatch, tmp_path, 2)
    with pytest.raises(WorkerError, match="worker 0 ended with exit code 2"):
        run_workers(1)
    assert times_begun(tmp_path) == [1]
