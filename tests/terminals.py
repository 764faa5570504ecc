"""A pseudo-terminal around a call within this process, and what a screen of it shows in the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Callable

import pytest


class ShownByTerminal:
    """Reads what is written to a pseudo-terminal of so many columns, from a thread."""

    def __init__(self, columns: int) -> None:
        self._ours, self.descriptor = pty.openpty()
        self.resize(columns)
        self._read = bytearray()
        self._thread = threading.Thread(target=self._read_on, daemon=True)
        self._thread.start()

    def resize(self, columns: int) -> None:
        """Gives the terminal another width."""
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def _read_on(self) -> None:
        try:
            while read := os.read(self._ours, 65536):
                self._read += read
        except OSError:  # nobody holds the other end any more
            pass

    def said(self) -> str:
        """Everything that was written, once the other end is closed."""
        self._thread.join(10)
        os.close(self._ours)
        return self._read.decode().replace("\r\n", "\n")


def on_a_terminal(call: Callable[[], object], columns: int = 80) -> str:
    """All that a call writes where standard output and error are a terminal, control sequences and all."""
    terminal = ShownByTerminal(columns)
    with pytest.MonkeyPatch.context() as patch, os.fdopen(terminal.descriptor, "w", buffering=1) as stream:
        patch.setenv("TERM", "xterm-256color")
        patch.delenv("COLUMNS", raising=False)
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        call()
    return terminal.said()


def screen_of(said: str, columns: int = 80) -> list[str]:
    """The lines that a terminal shows after this was written to it: lines that were erased are gone."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\s\S]", said):
        if piece == "\n":
            row, column = row + 1, 0
        elif piece == "\r":
            column = 0
        elif piece == "\x1b[1A":
            row = max(0, row - 1)
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif not piece.startswith("\x1b"):
            if column >= columns:
                row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
            lines[row] = lines[row].ljust(column)[:column] + piece + lines[row][column + 1 :]
            column += 1
        lines += [""] * (row + 1 - len(lines))
    return lines
