"""Makes standard output safe: a closed pipe, a closed terminal or an unknown character does not end the program.

Every console script calls ``make_safe`` first.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

from mdaf.terminal.wrapping import for_terminal

# Errors of a pipe whose reader has ended (`| head`), and of a terminal that was closed.
_READER_GONE = (errno.EPIPE, errno.EIO)


class ForgivingFile(io.FileIO):
    """A file to which writing succeeds even if its reader has gone; the text is then lost."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in _READER_GONE:
                raise
            return memoryview(content).nbytes


def make_safe() -> None:
    """Makes standard output and error of this process safe. Calling it again changes nothing.

    Characters that the stream's encoding lacks are escaped, and a reader that has gone is ignored. A closed stream is
    replaced by one to /dev/null. Otherwise the next file to be opened would get its descriptor, and be written to. A
    stream that somebody else has put in place, as tests do, is left alone.
    """
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream, own = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is None:
            setattr(sys, name, _null_stream(descriptor))
        elif name != "stdin" and stream is own and not _is_safe(stream):
            setattr(sys, name, _safe(stream, descriptor))
            setattr(sys, f"__{name}__", getattr(sys, name))


def can_show(text: str, stream: TextIO | None = None) -> bool:
    """Whether the encoding of ``stream``, by default standard output, has all characters of ``text``."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except UnicodeError:
        return False
    return True


def _is_safe(stream: Any) -> bool:
    return isinstance(getattr(getattr(stream, "buffer", None), "raw", None), ForgivingFile)


class _Worded(io.TextIOWrapper):
    """A stream of logs, messages or help, whose long lines a terminal would break within a word."""

    def write(self, text: str) -> int:
        super().write(for_terminal(text, self))
        return len(text)


def _safe(stream: Any, descriptor: int) -> TextIO:
    stream.flush()
    raw = ForgivingFile(descriptor, "w", closefd=False)
    is_for_people = descriptor == 2 or not {"--help", "-h"}.isdisjoint(sys.argv[1:])
    return (_Worded if is_for_people else io.TextIOWrapper)(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors if can_show("ü", stream) and stream.errors == "surrogateescape" else "backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through or descriptor == 2,
    )


def _null_stream(descriptor: int) -> TextIO:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
    return open(descriptor, "r" if descriptor == 0 else "w", encoding="utf-8", closefd=False)
