"""What a person sees of a sweep, of the same sweep resumed, and of Phase 4, recorded by tmux at three widths."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]
ROWS = 50
SECONDS = 200.0  # for a command to end, on a busy machine
TINY = ("data=synthetic_tiny", "model=deepfm", "device=cpu", "training.epochs=2", "training.batch_size=50")
SWEEP = ("-m", "sweeper", "-m", "hydra/sweeper=regularization", *TINY)
VERDICT = ("-m", "multirun", "design=research", "points=[balanced]", "seeds=[42,43]", "confirm.top=0", "resamples=20")
ENDED = "the command has ended with"


class Recording:
    """A terminal of tmux of so many columns, in a folder, and the screens that it showed."""

    def __init__(self, columns: int, folder: Path) -> None:
        self._columns, self._folder, self._commands = columns, folder, 0
        self.screens: list[str] = []

    def record(self, *words: str) -> None:
        """Types a command of Python and keeps each screen that it shows until it ends."""
        self._commands += 1
        python = shlex.join([sys.executable, *words])
        shell = f"{python}; echo {ENDED} $?; sleep 600"
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        size = ["-x", str(self._columns), "-y", str(ROWS)]
        self._tmux("new-session", "-d", *size, "-c", str(self._folder), "bash", "-c", shell, environment=environment)
        deadline, self.screens = time.monotonic() + SECONDS, []
        try:
            while not self.screens or ENDED not in self.screens[-1]:
                assert time.monotonic() < deadline, self.screens[-1:]
                now = self._tmux("capture-pane", "-p").rstrip()
                if now not in self.screens[-1:]:
                    self.screens.append(now)
                time.sleep(0.3)
        finally:
            self._tmux("kill-server")

    def kept(self, heading: str) -> str:
        """The last screen on which a line of the block begins with ``heading``."""
        return next(screen for screen in reversed(self.screens) if f"\n{heading} " in screen)

    def _tmux(self, *words: str, environment: dict[str, str] | None = None) -> str:
        command = ["tmux", "-f", "/dev/null", "-S", str(self._folder / f"tmux-{self._commands}"), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


@pytest.fixture(params=[60, 80, 120])
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> Recording:
    return Recording(request.param, tmp_path)


def block_of(screen: str) -> dict[str, str]:
    """The lines of the block at the end of a screen, by their headings."""
    lines = screen.splitlines()
    first = max(number for number, line in enumerate(lines) if line.startswith(("study  ", "Phase 4  ", "grid  ")))
    rows: dict[str, str] = {}
    for line in lines[first:]:
        heading, text = line[:9].strip(), line[9:].strip()
        if heading:
            rows[heading] = text
        else:
            rows[next(reversed(rows))] += f" {text}"
    return rows


def check_end(recording: Recording, *told: str) -> None:
    last = recording.screens[-1]
    assert f"{ENDED} 0" in last
    assert not any(line.startswith(("trials  ", "running  ", "left  ", "runs  ")) for line in last.splitlines())
    whole = "".join(last.split())
    assert all("".join(text.split()) in whole for text in told), last


def test_a_sweep_its_resumption_and_phase_4_can_be_followed(recording: Recording) -> None:
    recording.record(*SWEEP, "hydra.sweeper.n_trials=3")
    block = block_of(recording.kept("best"))
    assert block["study"] == "regularization-deepfm-synthetic_tiny"
    assert " of 3 done" in block["trials"]
    assert block["best"].startswith("trial ")
    assert "dropout=" in block["best"]
    follows = "python -m multirun study=regularization-deepfm-synthetic_tiny"
    check_end(recording, "python -m sweeper.study best --study regularization-deepfm-synthetic_tiny", follows)

    recording.record(*SWEEP, "hydra.sweeper.n_trials=5")
    assert all(" of 5 done" in block_of(screen)["trials"] for screen in recording.screens if "\ntrials " in screen)
    assert "until" in block_of(recording.kept("running"))["left"]  # known from the trials before
    check_end(recording, follows)

    recording.record(*VERDICT, "force=true", "--yes")
    block = block_of(recording.kept("runs"))
    assert block["Phase 4"] == "of study regularization-deepfm-synthetic_tiny"
    assert " of 2 done" in block["runs"]
    check_end(recording, "python -m multirun verify")
