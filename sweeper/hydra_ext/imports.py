"""Speeds up the import of large packages. The programs' entry points use it."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def imported_to_stay() -> Iterator[None]:
    """A context without garbage collection.

    Importing creates about a million objects, none of which is garbage. The garbage collector searches them again and
    again, which takes a fifth of the time of importing torch.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def end_quickly() -> None:
    """Has this process end without another search for garbage, which looks at everything that was imported."""
    atexit.register(gc.freeze)
