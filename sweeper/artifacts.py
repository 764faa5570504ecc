"""Run folders on a store that all machines reach, by URL: a job leaves a copy there, whoever needs it fetches it.

URLs are those of fsspec: ``s3://bucket/runs``, ``gs://``, ``sftp://``, ``file:///srv/runs``; each but ``file`` needs a
driver. fsspec itself comes with torch.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import UserError
from sweeper.names import folder_of
from sweeper.secrets import masked, masked_text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

ARTIFACTS = "artifacts"  # the user attribute of a trial: the URL of its run folder's copy


def url_of(base: str, study: str, number: int) -> str:
    """Where a trial's run folder is copied to."""
    return f"{base.rstrip('/')}/{folder_of(study)}/{number}"


def check(base: str) -> None:
    """UserError for a URL whose protocol or driver is not there."""
    _opened(base)


def leave(folder: Path, url: str) -> None:
    """Copies a run folder to its URL. What goes wrong is a warning: the run itself is done."""
    try:
        system, path = _opened(url)
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            target = f"{path}/{file.relative_to(folder).as_posix()}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.put_file(str(file), target)
    except Exception as error:  # whatever a store raises
        log.warning("the run folder could not be copied to %s: %s", masked(url), masked_text(str(error)))


def fetch(url: str, folder: Path) -> int:
    """Makes the folder from its copy, whole or not at all; the number of its files.

    UserError if there is no copy, or the store cannot be read.
    """
    draft = folder.with_name(f".{folder.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        system, path = _opened(url)
        files = system.find(path)
        for file in files:
            target = draft / str(file)[len(path) :].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(file, str(target))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{masked(url)} cannot be read: {masked_text(str(error))}") from error
    if not files:
        raise UserError(f"{masked(url)}: there is no copy of a run folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft.rename(folder)
    return len(files)


def missing(trials: Sequence[FrozenTrial]) -> list[tuple[FrozenTrial, Path, str]]:
    """The trials whose run folder is not on this machine but has a copy: with the folder's path and the copy's URL."""
    found = []
    for trial in trials:
        folder, url = trial.user_attrs.get("run_dir"), trial.user_attrs.get(ARTIFACTS)
        if folder and url and not Path(str(folder)).exists():
            found.append((trial, Path(str(folder)), str(url)))
    return found


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path on it."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"sweep.artifacts: {masked(url)} cannot be opened: {masked_text(str(error))}") from None
    return system, str(path).rstrip("/")
