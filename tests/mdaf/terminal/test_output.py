"""Standard output whose reader is gone, that is closed, or that lacks the characters: none of these ends a program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

SPEAKS = """
import sys
from mdaf.terminal import output
output.make_safe()
print("\\u2503 Gr\\xfc\\xdfe \\xb1")
print("done", file=sys.stderr)
"""


def command(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def environment(**variables: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)} | variables


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_ends_nothing(unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    end = subprocess.run(
        command(SPEAKS), stdout=write, stderr=subprocess.PIPE, env=environment(PYTHONUNBUFFERED=unbuffered), check=False
    )
    os.close(write)
    assert (end.returncode, end.stderr) == (0, b"done\n")


def test_a_terminal_that_is_gone_ends_nothing() -> None:
    master, slave = os.openpty()
    code = f"import sys; sys.stdin.readline()\n{SPEAKS}"
    with subprocess.Popen(command(code), stdin=subprocess.PIPE, stdout=slave, stderr=slave, env=environment()) as child:
        os.close(slave)
        os.close(master)
        child.communicate(b"\n")
    assert child.returncode == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_leads_nowhere(closed: str, tmp_path: Path) -> None:
    code = (
        "from mdaf.terminal import output; output.make_safe(); "
        "import os, sys; sys.stdin.isatty(); sys.stdout.isatty(); "
        "file = open('file', 'w'); os.write(1, b'x'); os.write(2, b'y'); print('out'); print('e', file=sys.stderr)"
    )
    end = subprocess.run(
        ["sh", "-c", f'"$0" -S -c "$1" {closed}', sys.executable, code], cwd=tmp_path, env=environment(), check=False
    )
    assert end.returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ascii", "C"],
)
def test_what_cannot_be_shown_is_escaped(variables: dict[str, str]) -> None:
    end = subprocess.run(command(SPEAKS), capture_output=True, env=environment(**variables), check=False)
    assert (end.returncode, end.stderr) == (0, b"done\n")
    assert end.stdout == b"\\u2503 Gr\\xfc\\xdfe \\xb1\n"


def test_what_can_be_shown_is_shown() -> None:
    end = subprocess.run(command(SPEAKS), capture_output=True, env=environment(PYTHONIOENCODING="utf-8"), check=False)
    assert end.stdout.decode() == "┃ Grüße ±\n"
