"""Finds the store that a run was trained on, by the hash of its data. The raw log need not be there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from mdaf.data.preparing.source import Source
from mdaf.data.reading.log_files import expanded
from mdaf.data.store.event_store import EventStore
from mdaf.errors import DataError, UserError
from mdaf.sweeper.job.trained_run import TrainedRun
from mdaf.sweeper.runs.reader import read_overrides
from mdaf.sweeper.trials.admitted import refusal
from mdaf.terminal.programs import command

_HASH = re.compile(r"[0-9a-f]{32}")


def store_of(
    run: TrainedRun, source: Source, root: Path | None, store: Path | None = None, option: str = "--root"
) -> EventStore:
    """Opens the store of a run, without changing it.

    ``root``    the folder of stores; None: ``data.root`` of the run's config. ``option``: how it is typed.
    ``store``   the store itself; None: the one in the folder of stores that the run's data hash names.

    UserError if there is no such store, or one of other data.
    """
    if not _HASH.fullmatch(run.saved.data_hash):
        raise UserError(f"{run.folder}: its data hash is {run.saved.data_hash!r}, expected 32 hexadecimal digits")
    folder = store
    if folder is None:
        folder = expanded(root or str(run.config.data.root), "data.root") / f"{source.name}-{run.saved.data_hash[:12]}"
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not there: the store that {run.folder} was trained on; give the folder of stores with "
            f"{option}, or prepare it again: {_how_to_prepare(run)}"
        )
    try:
        opened = EventStore.open(folder)
    except DataError as error:
        raise UserError(f"{error}: {_how_to_prepare(run)}") from None
    if opened.data_hash != run.saved.data_hash:
        raise UserError(
            f"{folder}: holds data {opened.data_hash[:12]}, and {run.folder} was trained on "
            f"{run.saved.data_hash[:12]}; give the store of the run's data"
        )
    return opened


def _how_to_prepare(run: TrainedRun) -> str:
    """The command that prepares the run's data, with what was typed about the data and may be shown."""
    typed = [override for override in read_overrides(run.folder) if override.startswith(("data=", "data."))]
    words = [override for override in typed if refusal(override) is None]
    return f"{command('data')} {shlex.join(['prepare', *words])}"
