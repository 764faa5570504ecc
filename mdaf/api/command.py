"""Runs a command of this program as a child process, shows what it says, and returns its outcome."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from mdaf.api.display import Shown
from mdaf.errors import StoppedError, UserError
from mdaf.messages.outcome import FILE_VARIABLE
from mdaf.processes.children import SECONDS_TO_SAVE, Child
from mdaf.processes.signals import EXIT_RESUMABLE

POLL_SECONDS = 0.1  # an interruption is noticed so soon
EXIT_USER_ERROR = 2
OUTPUT_IS_DRAINED = 10.0  # seconds that the last lines have, once the command is over


def outcome_of(module: str, words: Sequence[str], *, quiet: bool = False) -> dict[str, Any]:
    """Runs ``python -m MODULE WORDS`` and returns what it noted (``mdaf.messages.outcome``).

    Args:
        module: The module of the command, such as ``mdaf.sweeper``.
        words: The words after it.
        quiet: Whether to show nothing of what the command says.

    Raises:
        UserError: With the command's own line, where something that was typed is wrong.
        StoppedError: Where the command ended without a result for another reason.
        KeyboardInterrupt: Where this process was interrupted. The command has saved its state and has ended then.
    """
    with tempfile.TemporaryDirectory(prefix="mdaf-") as folder:
        file = Path(folder) / "outcome.json"
        running = Running([sys.executable, "-m", module, *words], file, quiet=quiet)
        code = running.wait()
        if code != 0:
            raise running.error(code)
        return json.loads(file.read_text()) if file.exists() else {}


class Running:
    """A command that runs, and the thread that shows its output."""

    def __init__(self, command: Sequence[str], file: Path, *, quiet: bool) -> None:
        self.command = command
        self.complaint: str | None = None  # the line in which the command says what is wrong
        self.last = ""
        self._shown = Shown(quiet=quiet)
        self._process = Child(
            command,
            os.environ | {FILE_VARIABLE: str(file), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal reaches this process alone, which then asks the child to end
        )
        assert self._process.stdout is not None
        self._thread = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._thread.start()

    def wait(self) -> int:
        """The exit code. An interruption asks the command to save and to leave, and is raised when it has left."""
        try:
            while self._process.poll() is None:
                self._thread.join(POLL_SECONDS)
                if not self._thread.is_alive():
                    self._process.wait()
        except BaseException:
            self._leave()
            raise
        finally:
            self._thread.join(OUTPUT_IS_DRAINED)
            self._process.let_go()
            self._shown.close()
        return self._process.returncode

    def error(self, code: int) -> Exception:
        """What the command's end means for the caller."""
        if self.complaint is not None and code == EXIT_USER_ERROR:
            return UserError(self.complaint)
        said = self.complaint or self.last or "it said nothing"
        if code == EXIT_RESUMABLE:
            return StoppedError(said)
        return StoppedError(f"{' '.join(self.command[1:3])} ended with exit code {code}: {said}")

    def _leave(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(SECONDS_TO_SAVE)
        except BaseException:  # it takes too long, or a second interruption
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _read(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip("\r\n")
                if text.startswith("error: "):  # raised as an exception, with the same words
                    self.complaint = text.removeprefix("error: ")
                    continue
                self.last = text.strip() or self.last
                self._shown.line(text)
