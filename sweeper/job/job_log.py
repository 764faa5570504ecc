"""A log for each job, when several jobs train in one process.

Hydra replaces the root logger's handlers for each job, and again when a sweep continues. Here the handlers of all open
jobs stay attached, and a filter on each handler passes only the messages of its own job. What jobs of a sweep have in
common stands in the log file of each, and once on the terminal.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

_active: ContextVar[JobLog | None] = ContextVar("active", default=None)
_open: list[JobLog] = []
_shown: dict[tuple[str, str, str], str] = {}  # the last text by handler, sweep and message


class JobLog:
    """The log handlers that Hydra created for a job, from the job's set-up until ``close``.

    Messages outside of ``active`` go to the handlers of the sweep. Without a sweep they go to those of the latest job.

    ``common``  is the ``extra`` of messages that other jobs of the sweep may repeat word for word.
    """

    def __init__(self) -> None:
        hydra = HydraConfig.get()
        self.common = {"common_in": str(Path(hydra.sweep.dir).absolute())} if hydra.mode is RunMode.MULTIRUN else {}
        others = _of_all_jobs()
        self.handlers: list[logging.Handler] = [h for h in logging.getLogger().handlers if h not in others]
        for handler in self.handlers:
            handler.removeFilter(_is_of_no_job)
            handler.addFilter(self._is_its_own)
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(partial(_is_new, handler.get_name() or ""))
        _open.append(self)
        _attach_all()

    @contextmanager
    def active(self) -> Iterator[None]:
        """A context in which the messages of this thread go to this job's log."""
        _attach_all()
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)

    def close(self) -> None:
        """Detaches the job's handlers. The handlers that Hydra installed last stay attached, as Hydra expects."""
        is_latest = self is _open[-1] and not _of_the_sweep()
        for handler in self.handlers:
            handler.removeFilter(self._is_its_own)
            if not is_latest:
                logging.getLogger().removeHandler(handler)
        _open.remove(self)

    def _is_its_own(self, record: logging.LogRecord) -> bool:
        active = _active.get()
        return active is self or (active is None and self is _open[-1] and not _of_the_sweep())


def _is_new(handler: str, record: logging.LogRecord) -> bool:
    """Whether a message is none that another job of the sweep has just said."""
    sweep = getattr(record, "common_in", None)
    if sweep is None:
        return True
    said, text = (handler, sweep, str(record.msg)), record.getMessage()
    if _shown.get(said) == text:
        return False
    _shown[said] = text
    return True


def _attach_all() -> None:
    """Attaches the handlers of all open jobs again, after Hydra has replaced the root logger's handlers."""
    root = logging.getLogger()
    for handler in _of_the_sweep():
        handler.addFilter(_is_of_no_job)
    for handler in _of_all_jobs():
        if handler not in root.handlers:
            root.addHandler(handler)


def _is_of_no_job(record: logging.LogRecord) -> bool:
    return _active.get() is None


def _of_all_jobs() -> list[logging.Handler]:
    return [handler for job in _open for handler in job.handlers]


def _of_the_sweep() -> list[logging.Handler]:
    jobs = _of_all_jobs()
    return [handler for handler in logging.getLogger().handlers if handler not in jobs]
