"""Standard output that ends nothing: a reader that is gone, a terminal that is gone, characters that it cannot show."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

# Of a pipe whose reader has left (`| head`), and of a terminal that was closed.
_NOBODY_READS = (errno.EPIPE, errno.EIO)


class Unread(io.FileIO):
    """A file that takes what is written to it although nobody reads it any more."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in _NOBODY_READS:
                raise
            return memoryview(content).nbytes


def make_safe() -> None:
    """Standard output and error of this process from now on: what cannot be shown is escaped, and who leaves is let go.

    Those that are closed lead nowhere, so that no file which is opened next takes their place. Idempotent; where
    somebody else has put a stream of their own, as tests do, it stays.
    """
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream, own = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is None:
            setattr(sys, name, _nowhere(descriptor))
        elif name != "stdin" and stream is own and not _is_safe(stream):
            setattr(sys, name, _safe(stream, descriptor))
            setattr(sys, f"__{name}__", getattr(sys, name))


def can_show(text: str, stream: TextIO | None = None) -> bool:
    """Whether standard output, or another stream, has all of a text's characters."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except UnicodeError:
        return False
    return True


def _is_safe(stream: Any) -> bool:
    return isinstance(getattr(getattr(stream, "buffer", None), "raw", None), Unread)


def _safe(stream: Any, descriptor: int) -> TextIO:
    stream.flush()
    raw = Unread(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors if can_show("ü", stream) and stream.errors == "surrogateescape" else "backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through or descriptor == 2,
    )


def _nowhere(descriptor: int) -> TextIO:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
    return open(descriptor, "r" if descriptor == 0 else "w", encoding="utf-8", closefd=False)
