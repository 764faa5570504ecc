"""Importing what takes seconds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def imported_to_stay() -> Iterator[None]:
    """Within it Python does not look for garbage.

    Modules are made of a million objects that all stay; torch's import was measured to spend a fifth of its time on
    looking through them again and again.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
