"""What a program draws below its lines on a terminal: a status block, progress bars. A process has one screen.

The drawing is always the last thing on the terminal. A line that is printed meanwhile, to standard output or standard
error, appears above it (``mdaf.terminal.routing``). Parts that are shown later are drawn above earlier ones, so a
progress bar stands above the block of the sweep that it belongs to.

Nothing is drawn without a terminal, nor on one that cannot move its cursor (TERM=dumb). The cursor is never hidden, so
a process that is killed leaves a terminal that works.
"""

from __future__ import annotations

import atexit
import io
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console, RenderableType

from mdaf.terminal import routing
from mdaf.terminal.output import ForgivingFile
from mdaf.terminal.printable import printable
from mdaf.terminal.wrapping import wrapped

SECONDS = 0.25  # between two drawings
QUICK_SECONDS = 0.05  # a line that follows another one sooner leaves the drawing to the next one
NARROWEST = 20  # columns
UNABLE = ("dumb", "unknown")  # values of TERM
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# What is to be drawn now, if anything. Any thread may call it, so it must neither print nor log.
Part = Callable[[], RenderableType | None]


def can_draw(stream: Any = None) -> bool:
    """Whether ``stream``, by default standard error, is a terminal whose cursor can be moved."""
    if _screen is not None:
        return True
    return routing.is_terminal(stream or sys.stderr) and os.environ.get("TERM", "").lower() not in UNABLE


def columns() -> int:
    """How many columns a part may fill."""
    return _screen.columns if _screen is not None else NARROWEST


@contextmanager
def shown(part: Part, *, processes: bool = False) -> Iterator[None]:
    """Draws a part while the context lasts; without a terminal nothing happens.

    ``processes``  also what other processes print is brought above the drawing: those that begin within the context
                   and inherit this process's standard streams.
    """
    remove = add(part, processes=processes)
    try:
        yield
    finally:
        remove()


def add(part: Part, *, processes: bool = False) -> Callable[[], None]:
    """As ``shown``; returns the function that ends it, which may be called more than once."""
    global _screen
    if not can_draw():
        return lambda: None
    with _lock:
        if _screen is None:
            _screen = Screen(sys.stderr)
        screen = _screen
        screen.begin(part, processes=processes)
    return lambda: _end(screen, part)


def _end(screen: Screen, part: Part) -> None:
    global _screen
    with _lock:
        if screen.end(part) and screen is _screen:
            _screen = None


class Screen:
    """The last lines of the terminal that ``stream`` writes to."""

    def __init__(self, stream: Any) -> None:
        self._terminal = _own_stream(stream)
        self._console = Console(
            file=_Encoded(str(stream.encoding or "ascii")), force_terminal=True, highlight=False, markup=False
        )
        self.parts: list[Part] = []
        self._lock = threading.RLock()
        self._rendered: list[str] = []
        self._tails: dict[str, str] = {}  # stream -> its last line, which has no end yet
        self._drawn: list[str] = []
        self._width = self._drawn_at = 0.0
        self._over = threading.Event()
        self._routes = routing.Routes(self.write, self._terminal.close)
        self._thread = threading.Thread(target=self._draw_on, name="screen", daemon=True)

    @property
    def columns(self) -> int:
        """The width of the drawing: a line that fills the terminal would be broken by some."""
        return max(NARROWEST, self._size()[0] - 1)

    def begin(self, part: Part, *, processes: bool) -> None:
        """Draws a part from now on."""
        first = not self.parts
        self.parts.append(part)
        if first:
            self._routes.begin()
            self._thread.start()
        if processes:
            self._routes.begin_descriptors()
        self.draw()

    def end(self, part: Part) -> bool:
        """Draws a part no more; whether it was the last one, which leaves the terminal as if nothing had been drawn."""
        if part not in self.parts:
            return False
        self.parts.remove(part)
        if self.parts:
            self.draw()
            return False
        with self._lock:
            self._over.set()
            self._put(self._erasure() + "".join(self._tails.values()))
            self._drawn, self._tails = [], {}
        self._routes.end()
        return True

    def write(self, name: str, text: str) -> None:
        """Prints the whole lines of ``text`` above the drawing; keeps an unfinished line of the stream ``name``."""
        with self._lock:
            before = self._tails.get(name, "")
            if before.startswith("\r") and not text.startswith(("\r", "\n")):
                before = ""  # a bar of another library, which draws it again
            whole, _, tail = (before + text).rpartition("\n")
            self._tails[name] = ("\r" if "\r" in tail else "") + _after_return(tail)
            if not (whole or "\n" in text):
                return  # drawn soon: a bar of another library rewrites its line often
            width = self._size()[0]
            lines = "".join(f"{wrapped(_after_return(line), width)}\n" for line in whole.split("\n"))
            if self._over.is_set():
                self._put(lines)
            elif time.monotonic() - self._drawn_at < QUICK_SECONDS:
                self._put(self._erasure() + lines)
                self._drawn = []
            else:
                self._draw(lines)

    def draw(self) -> None:
        """Draws all parts as they are now."""
        self._console.width = self.columns
        rendered = self._lines(list(reversed(self.parts)))  # without the lock, since a part may wait for another one
        with self._lock:
            self._rendered = rendered
            if not self._over.is_set():
                self._draw("")

    def _draw_on(self) -> None:
        while not self._over.wait(SECONDS):
            self.draw()

    def _draw(self, above: str) -> None:
        width, height = self._size()
        tails = [printable(_COLOUR.sub("", tail.lstrip("\r")))[: width - 1] for tail in self._tails.values()]
        lines = [*filter(None, tails), *self._rendered][: max(1, height - 1)]
        if above or lines != self._drawn or width != self._width:
            self._put(self._erasure() + above + "\n".join(lines))
            self._drawn, self._width, self._drawn_at = lines, width, time.monotonic()

    def _erasure(self) -> str:
        """What takes the drawing away. A terminal that was made narrower has broken its lines meanwhile."""
        if not self._drawn:
            return ""
        width, height = self._size()
        rows = sum(max(1, -(-cell_len(_COLOUR.sub("", line)) // width)) for line in self._drawn)
        return "\r\x1b[2K" + "\x1b[1A\x1b[2K" * (min(rows, height) - 1)

    def _lines(self, parts: Sequence[Part]) -> list[str]:
        lines: list[str] = []
        for part in parts:
            if (now := part()) is None:
                continue
            with self._console.capture() as captured:
                self._console.print(now)
            lines += [line.rstrip() for line in captured.get().rstrip("\n").split("\n")]
        return lines

    def _put(self, text: str) -> None:
        if text:
            self._terminal.write(text)
            self._terminal.flush()

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._terminal.fileno())
        except OSError:
            columns = rows = 0
        return columns or 80, rows or 24


class _Encoded(io.StringIO):
    """A text buffer that says which encoding its text is shown in, so that no character is used that this lacks."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def _own_stream(stream: Any) -> TextIO:
    """A stream to the terminal of ``stream`` that stays the terminal's if that is put elsewhere."""
    stream.flush()
    raw = ForgivingFile(os.dup(stream.fileno()), "w")
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=stream.encoding, errors="backslashreplace")


def _after_return(line: str) -> str:
    """What is left to be seen of a line that goes back to its beginning and begins again."""
    return routing.without_movements(line).rstrip("\r").rpartition("\r")[2]


@atexit.register
def clear() -> None:
    """Ends all that is drawn, as an error does that leaves a command which drew."""
    if _screen is not None:
        for part in list(_screen.parts):
            _end(_screen, part)


_screen: Screen | None = None
_lock = threading.RLock()


def _forget() -> None:
    """A forked process has no thread that draws; what it prints is its own."""
    global _screen, _lock
    _screen, _lock = None, threading.RLock()


os.register_at_fork(after_in_child=_forget)
