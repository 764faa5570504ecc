"""Which folders are runs of this program, by what lies in them. Nothing that a file says is asked here."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

HYDRA = ".hydra"
_WRITTEN = (
    *("best.pt", "last.pt", "last.before.pt", "metrics.csv", "result.json", "summary.txt", "train.log"),
    *("hang.txt", "test_reads.jsonl", ".lock", "tracker.json"),
)
_FILE = re.compile("|".join([*map(re.escape, _WRITTEN), r"scores_\w{1,40}\.npz"]))
_INNER = {  # folders in a run's folder, and the names of what is written there
    HYDRA: re.compile(r"(config|hydra|overrides)\.yaml"),
    "tensorboard": re.compile(r"events\.out\.tfevents\..+"),
}
WANDB = "wandb"
_OF_WANDB = re.compile(r"(offline-)?run-\d{8}_\d{6}-[\w-]+|latest-run|debug(-internal|-cli\.[\w.-]+)?\.log")
_DRAFT = re.compile(r"\.(?P<name>.+?)\.\d+(\.again)?")  # of a file that was being written
_SIGNS = {"result.json", "last.pt", "best.pt", "train.log"}


def is_run(names: Collection[str]) -> bool:
    """Whether a folder with these names in it is that of a run, of this program or of another Hydra program."""
    return HYDRA in names or "result.json" in names


def is_ours(names: Collection[str]) -> bool:
    """Whether a run is one of this program."""
    return not _SIGNS.isdisjoint(names) or set(names) <= {HYDRA, ".lock"}


def stranger_in(folder: int) -> str | None:
    """The first entry of a run's folder that this program does not write; None if it wrote all of them.

    ``folder``  the descriptor of the open folder. A symbolic link counts as a stranger, whatever its name.
    """
    for entry in _entries(folder):
        if entry.name in (*_INNER, WANDB) and entry.is_dir(follow_symlinks=False):
            inside = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            try:
                strange = [one.name for one in _entries(inside) if not _is_expected(one, entry.name)]
            finally:
                os.close(inside)
            if strange:
                return f"{entry.name}/{strange[0]}"
        elif not _is_file(entry, _FILE):
            return entry.name
    return None


def _entries(folder: int) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_expected(entry: os.DirEntry[str], within: str) -> bool:
    """Whether an entry of an inner folder is written there. Weights & Biases keeps folders and links of its own."""
    return bool(_OF_WANDB.fullmatch(entry.name)) if within == WANDB else _is_file(entry, _INNER[within])


def _is_file(entry: os.DirEntry[str], written: re.Pattern[str]) -> bool:
    draft = _DRAFT.fullmatch(entry.name)
    name = draft["name"] if draft else entry.name
    return entry.is_file(follow_symlinks=False) and written.fullmatch(name) is not None
