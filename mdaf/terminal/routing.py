"""Brings what a process prints above the drawing of its screen, whoever prints it.

Python's standard streams are replaced by ones that hand their text over, also in the handlers of logging. Other
processes write to file descriptors: these are replaced by a pipe, from which a thread reads. While something is drawn
the streams say that they are no terminal, so that no other library draws a bar of its own across it.
"""

from __future__ import annotations

import codecs
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

NAMES = ("stdout", "stderr")
LAST_WORDS_SECONDS = 0.2  # for what other processes have printed; one that stays may print more later
# Control sequences that move the cursor or clear a part of the screen; colours are kept.
_MOVEMENT = re.compile(r"\x1b\[[0-9;?]*[A-HJKSTfhlsu]|\x1b[78DEM]")

Write = Callable[[str, str], None]  # takes the name of a stream, and text

_latest: dict[str, Routed] = {}  # by name: handlers of logging may hold it still


def without_movements(text: str) -> str:
    """``text`` without the control sequences that would tear a drawing."""
    return _MOVEMENT.sub("", text)


class Routed:
    """A standard stream that hands its text over while it is routed, and is the stream itself before and after.

    ``unrouted``       the stream itself.
    ``standard_name``  ``stdout`` or ``stderr``.
    ``hand_over``      what takes the text while it is routed, else None.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self.unrouted, self.standard_name = stream, name
        self.hand_over: Write | None = None
        self._process = os.getpid()

    @property
    def _hands_over(self) -> Write | None:
        return self.hand_over if os.getpid() == self._process else None  # a forked process has no screen

    def write(self, text: str) -> int:
        """Writes text, as any stream does."""
        if (hand_over := self._hands_over) is None:
            return int(self.unrouted.write(text))
        hand_over(self.standard_name, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is kept back while the stream is routed."""
        if self._hands_over is None:
            self.unrouted.flush()

    def isatty(self) -> bool:
        """False while it is routed: nothing but the screen is to draw."""
        return self._hands_over is None and bool(self.unrouted.isatty())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unrouted, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.unrouted)


class Routes:
    """What of this process's output goes to ``write``, from ``begin`` to ``end``; ``close`` is called after the last.

    Processes may hold a routed descriptor beyond the end; ``close`` waits for them.
    """

    def __init__(self, write: Write, close: Callable[[], None]) -> None:
        self._write, self._close = write, close
        self._reader: threading.Thread | None = None
        self._routed: list[Routed] = []
        self._saved: dict[int, int] = {}  # descriptor -> a copy of what it was

    def begin(self) -> None:
        """Routes those of Python's standard streams that are terminals, and all log handlers that write to them."""
        for name in NAMES:
            stream = getattr(sys, name)
            if isinstance(stream, Routed) or not is_terminal(stream):
                continue
            stream.flush()
            routed = _routed_of(stream, name)
            _redirect_handlers(stream, routed)
            routed.hand_over = self._write
            setattr(sys, name, routed)
            self._routed.append(routed)

    def begin_descriptors(self) -> None:
        """Routes the descriptors of these streams too, which other processes inherit."""
        if self._saved or not self._routed:
            return
        read, write = os.pipe()
        for routed in self._routed:
            descriptor = routed.unrouted.fileno()
            self._saved[descriptor] = os.dup(descriptor)
            os.dup2(write, descriptor)
        os.close(write)
        self._reader = threading.Thread(target=self._pass_on, args=(read,), name="output of processes", daemon=True)
        self._reader.start()

    def end(self) -> None:
        """Puts everything back. Handlers of logging keep a stream that is the terminal's own from now on."""
        for descriptor, saved in self._saved.items():
            os.dup2(saved, descriptor)
            os.close(saved)
        self._saved = {}
        for routed in self._routed:
            routed.hand_over = None
            if getattr(sys, routed.standard_name) is routed:
                setattr(sys, routed.standard_name, routed.unrouted)
        if self._reader is None:
            self._close()
        else:
            self._reader.join(LAST_WORDS_SECONDS)

    def _pass_on(self, descriptor: int) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while read := os.read(descriptor, 65536):
            self._write("processes", decoder.decode(read))
        os.close(descriptor)
        self._close()


def _routed_of(stream: Any, name: str) -> Routed:
    known = _latest.get(name)
    if known is None or known.unrouted is not stream:
        _latest[name] = Routed(stream, name)
    return _latest[name]


def _redirect_handlers(stream: Any, routed: Routed) -> None:
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                handler.setStream(routed)


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal by its descriptor, whatever it says."""
    try:
        return os.isatty(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False
