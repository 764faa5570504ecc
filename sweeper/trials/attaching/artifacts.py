"""Run folders on a store that all machines reach, by URL: a job leaves a copy there, whoever needs it fetches it.

URLs are those of fsspec: ``s3://bucket/runs``, ``gs://``, ``sftp://``, ``file:///srv/runs``; each but ``file`` needs a
driver.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdaf.errors import UserError
from mdaf.messages.secrets import masked, masked_text
from mdaf.naming.studies import folder_of
from mdaf.sweeper.trials.admitted import FETCHED, STUDIES, typed_here
from mdaf.terminal.programs import command

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
    """Makes the folder from its copy, whole or not at all, with a mark that it is one; the number of its files.

    UserError if there is no copy, if the store cannot be read, or names a file outside of the folder.
    """
    draft = folder.with_name(f".{folder.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        system, path = _opened(url)
        files = system.find(path)
        for file in files:
            target = draft / _inside(system, str(file), path, url)
            target.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(file, str(target))
        if files:
            (draft / FETCHED).write_text(masked(url) + "\n", encoding="utf-8")
    except UserError:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    except Exception as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise UserError(f"{masked(url)} cannot be read: {masked_text(str(error))}") from error
    if not files:
        raise UserError(f"{masked(url)}: there is no copy of a run folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft.rename(folder)
    return len(files)


def _inside(system: Any, file: str, path: str, url: str) -> Path:
    """A file's place within the run folder. UserError for one that lies elsewhere, or is a link to there."""
    name = Path(file[len(path) :].lstrip("/"))
    inside = file.startswith(f"{path}/") and name.parts and not name.is_absolute() and ".." not in name.parts
    if not inside or not str(name).isprintable() or system.info(file).get("islink"):
        raise UserError(f"{masked(url)}: its file {file!r} lies outside of the run folder, so nothing of it is taken")
    return name


def missing(
    study: str, trials: Sequence[FrozenTrial], base: str | None, to: Path | None
) -> list[tuple[FrozenTrial, Path, str]]:
    """The trials whose run folder is not on this machine but has a copy: with the folder's path and the copy's URL.

    ``base`` is the URL that was typed, ``to`` the folder. UserError where one of them has to be, since a study says
    neither where to read from nor where to write to.
    """
    found = []
    home = STUDIES / folder_of(study) if to is None else to
    for trial in trials:
        said, url = trial.user_attrs.get("run_dir"), trial.user_attrs.get(ARTIFACTS)
        folder = home / str(trial.number)
        if not isinstance(said, str) or not isinstance(url, str) or folder.exists():
            continue
        if to is None and Path(said) != folder:
            raise UserError(
                f"study {study}, trial {trial.number}: its run folder was {said}, and not {folder}; if you want it, "
                f"type where the study's folders go: {command('sweeper.study')} fetch --to FOLDER"
            )
        source = base or _typed_here(study)
        if source is None:
            known = masked(url).removesuffix(f"/{folder_of(study)}/{trial.number}")
            words = shlex.join(["fetch", "--study", study, "--from", known])
            raise UserError(
                f"study {study}, trial {trial.number}: the study says that a copy is in {masked(url)}, and where to "
                f"read from has to be typed: {command('sweeper.study')} {words}"
            )
        found.append((trial, folder, url_of(source, study, trial.number)))
    return found


def _typed_here(study: str) -> str | None:
    """The store with which a run of the study was begun here."""
    key = "sweep.artifacts="
    return next((typed.removeprefix(key) for typed in typed_here(study) if typed.startswith(key)), None)


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path on it."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"sweep.artifacts: {masked(url)} cannot be opened: {masked_text(str(error))}") from None
    return system, str(path).rstrip("/")
