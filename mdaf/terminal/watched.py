"""A block on the terminal whose facts a thread looks up every second."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from typing import Self

from rich.table import Table

from mdaf.terminal import screen

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks


class Watched:
    """Drawn while the context lasts, on a terminal that can be drawn on. A kind of block says what it looks at.

    ``processes``  show their output above the block: processes that begin within the context.
    """

    def __init__(self, *, processes: bool) -> None:
        self._processes = processes
        self._over = threading.Event()
        self._context = ExitStack()

    def look(self) -> None:
        """Looks at what is shown; called in a thread, and an error of it is left for the next look."""
        raise NotImplementedError

    def drawn(self) -> Table | None:
        """The block as it is now; None while nothing is known."""
        raise NotImplementedError

    def is_shown(self) -> bool:
        """Whether there is anything to show."""
        return True

    def __enter__(self) -> Self:
        if self.is_shown() and screen.can_draw():
            threading.Thread(target=self._look_again, name="status", daemon=True).start()
            self._context.enter_context(screen.shown(self.drawn, processes=self._processes))
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._context.close()

    def _look_again(self) -> None:
        while not self._over.is_set():
            try:
                self.look()
            except Exception as error:  # what is shown must not end what it shows; the next look may do better
                log.debug("the status could not be read: %s", error)
            self._over.wait(LOOK_SECONDS)
