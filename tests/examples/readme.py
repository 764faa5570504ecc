"""The commands of an example's README, run as they are typed in a copy of its folder."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from tests.processes import ROOT, Running

EXAMPLES = ROOT / "examples"
SCRIPTS = {
    "mdaf": "mdaf.sweeper",
    "mdaf-study": "mdaf.sweeper.study",
    "mdaf-phase4": "mdaf.multirun",
    "mdaf-data": "mdaf.data",
}
BLOCK = re.compile(r"^```\n(.*?)^```", re.M | re.S)


def blocks(example: str) -> list[list[str]]:
    """The command lines of each code block of the README, in order."""
    return [block.splitlines() for block in BLOCK.findall((EXAMPLES / example / "README.md").read_text())]


def copy_of(example: str, folder: Path) -> Path:
    """A copy of the example, so that its runs do not lie in the clone."""
    return shutil.copytree(EXAMPLES / example, folder / example, ignore=shutil.ignore_patterns("runs", "outputs"))


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs ``python app.py ...``, ``python -m module ...`` or a console script, which must end with 0."""
    program, *words = shlex.split(line)
    if program == "python":
        program, *words = words[1:] if words[0] == "-m" else words
    done = Running(SCRIPTS.get(program, program), *words, cwd=folder).wait()
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done
