"""What an earlier command left in the folders of runs that are missing: gone on with, or taken away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from multirun.points import Point, checked, hashes
from sweeper.checkpoint import saved_in
from sweeper.lock import locked
from sweeper.run_folder import RunFolder


def make_way(point: Point, seeds: Sequence[int]) -> None:
    """Takes away whatever ``resume=auto`` could not go on from, such as the state of an earlier winner of the name.

    UserError if another process works in one of the folders.
    """
    config = checked(point)
    for seed in seeds:
        folder = point.folder / f"seed-{seed}"
        if folder.is_dir() and not _goes_on(folder, hashes(config, seed)):
            with locked(folder):
                RunFolder(folder).clear()


def _goes_on(folder: Path, wanted: tuple[str, str]) -> bool:
    """Whether the folder holds states of this very run, and the weights of its best epoch if it has finished one."""
    states = saved_in(folder)
    own = bool(states) and all((state.config_hash, state.data_hash) == wanted for state in states)
    return own and (not states[0].history or (folder / "best.pt").is_file())
