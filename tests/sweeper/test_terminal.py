"""What only a terminal shows: the line of the epoch under way, Ctrl-C, colours, widths."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweeper.interruption import EXIT_RESUMABLE
from tests.processes import Running
from tests.sweeper.inside import TINIER, assert_same_run

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
LONG = (*TINIER, "training.batch_size=10", "training.epochs=2", "training.checkpoint_seconds=null")


def cursor_is_shown(said: str) -> bool:
    return said.rfind(HIDE) <= said.rfind(SHOW)


@pytest.mark.parametrize("columns", [60, 120])
def test_a_run_that_ctrl_c_stopped_within_an_epoch_goes_on_on_a_terminal(tmp_path: Path, columns: int) -> None:
    run = Running("sweeper", *LONG, "hydra.run.dir=one", cwd=tmp_path, terminal=columns)
    run.wait_until_shown("samples/s")
    assert run.terminal is not None
    run.terminal.type("\x03")
    stopped = run.wait(60)
    assert stopped.returncode == EXIT_RESUMABLE
    assert "Traceback" not in stopped.stdout
    assert cursor_is_shown(stopped.stdout)
    again = Running("sweeper", *LONG, "hydra.run.dir=one", "resume=auto", cwd=tmp_path, terminal=columns).wait(120)
    assert again.returncode == 0, again.stdout
    assert "going on in epoch 1 after step" in (tmp_path / "one/train.log").read_text()
    assert cursor_is_shown(again.stdout)
    whole = Running("sweeper", *LONG, "hydra.run.dir=whole", cwd=tmp_path).wait(120)
    assert whole.returncode == 0
    assert_same_run(tmp_path / "one", tmp_path / "whole")
