"""Where the runs that are missing go, and what an earlier command left there: gone on with, or taken away.

What was finished is never touched: a plan whose folder holds finished runs of another one gets a folder of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mdaf.errors import UserError
from mdaf.multirun.phase4.points import Point, hashes
from mdaf.naming.studies import numbered
from mdaf.sweeper.runs.checkpoint import saved_in
from mdaf.sweeper.runs.folder import RunFolder
from mdaf.sweeper.runs.lock import locked
from mdaf.sweeper.runs.reader import IDENTITY, is_finished, read_run

log = logging.getLogger(__name__)


def make_way(point: Point, seeds: Sequence[int]) -> Path:
    """The folder for a point's runs on these seeds, in which ``resume=auto`` trains all of them.

    It is the point's own, or the first of ``NAME-2``, ``NAME-3``, ... that holds no finished run of another plan.
    What was begun of another configuration is taken away. UserError if another process works in one of them.
    """
    folder = next(folder for folder in numbered(point.folder) if not _is_taken(folder, point, seeds))
    if folder != point.folder:
        log.warning("%s: holds finished runs of another plan, which stay; new ones go to %s", point.folder, folder)
    for seed in seeds:
        run = folder / f"seed-{seed}"
        if run.is_dir() and _is_of_another(run, hashes(point, seed)):
            log.warning("%s: what was begun there is of another configuration, and is taken away", run)
            with locked(run):
                RunFolder(run).clear()
    return folder


def _is_taken(folder: Path, point: Point, missing: Sequence[int]) -> bool:
    """Whether a run was finished in the folder that is none of this plan, or where one of the ``missing`` is to go."""
    for run in (run for run in folder.glob("seed-*") if is_finished(run)):
        if run.name in {f"seed-{seed}" for seed in missing}:
            return True
        try:
            result = read_run(run, IDENTITY).result
        except UserError:
            return True
        if (result["config_hash"], result["data_hash"]) != hashes(point, result["seed"]):
            return True
    return False


def _is_of_another(folder: Path, wanted: tuple[str, str]) -> bool:
    """Whether the folder holds a state of another run. The run itself leaves out states that it cannot go on from."""
    return any((state.config_hash, state.data_hash) != wanted for state in saved_in(folder))
