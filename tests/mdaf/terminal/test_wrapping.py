"""On a terminal long lines are broken between words; what is to be typed stays whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdaf.terminal.wrapping import for_terminal, wrapped
from tests.processes import Running

LOG = "[00:33:35] next, a verdict on the best over fresh seeds: mdaf-phase4 study=regularization-mdaf_mamba-small"


@pytest.mark.parametrize(
    "lines",
    [
        "short",
        "warning: the best lies on an\nedge, so wider",
        "[00:33:35] epoch 1/2  train\n           loss 0.3819",
        "  a sentence that stands below\n  another one",
        "folder\nruns/a-very-long-name-of-a-folder-that-stays",
        "next, the best of all of them:\nmdaf-study best --study a",
        "  mdaf-data prepare data=user_behavior data.path=A.csv",
        "mdaf-study best: found one\nword too many",
        "a bar of another library ######################\r",
    ],
)
def test_a_long_line_is_broken_between_words_and_what_is_to_be_typed_is_not(lines: str) -> None:
    first, *others = lines.split("\n")
    assert wrapped(" ".join([first, *(line.lstrip() for line in others)]), 30) == lines


def test_a_line_to_type_beside_its_name_goes_below_it() -> None:
    line = "python -m sweeper -m hydra/sweeper=regularization"
    assert wrapped(f"Sweep:            {line}", 60) == f"Sweep:\n{line}"


def test_off_a_terminal_every_line_stays_as_it_is(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        assert for_terminal(LOG, stream) == LOG


@pytest.mark.parametrize("columns", [60, 80])
def test_what_a_command_says_on_a_terminal_is_broken_between_words(tmp_path: Path, columns: int) -> None:
    typed = Running("sweeper", "model.sequence.hiden=3", cwd=tmp_path, terminal=columns).wait()
    assert typed.returncode == 2
    lines = [line.rstrip("\r") for line in typed.stdout.splitlines()]
    assert len(lines) > 1
    assert all(len(line) <= columns for line in lines), lines
    assert "did you mean model.sequence.hidden=3?" in " ".join(lines)
