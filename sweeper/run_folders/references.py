"""What studies and reports refer to, and so must stay. What they say only ever keeps a folder; it removes none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from mdaf.errors import UserError
from mdaf.messages.secrets import masked
from mdaf.naming.studies import DEFAULT_STORAGE
from mdaf.sweeper.run_folders.found import Found, Group, Run, find
from mdaf.sweeper.runs.reader import read_json

RUNS = "runs"
ABOVE = 4  # so many levels above a folder may that of all runs be: runs/multirun/DATE/TIME has three
PARTS = 3  # so many last parts of a path tell a run, since a clone may have been moved: studies/STUDY/0
_SQLITE, _JOURNAL = b"SQLite format 3\x00", b'{"'


@dataclass
class References:
    """The ends of the paths that studies and reports name, each with what names it.

    ``studies``  the names of the studies that were asked.
    """

    ends: dict[tuple[str, ...], str] = field(default_factory=dict)
    studies: set[str] = field(default_factory=set)

    def add(self, path: PurePath, said_by: str) -> None:
        """Notes a path, and where it leads if links are followed."""
        for place in (os.path.normpath(path), os.path.realpath(path)):
            parts = tuple(part for part in PurePath(place).parts if part not in (".", "..", path.anchor))
            if parts:
                self.ends.setdefault(parts[-PARTS:], said_by)

    def why_kept(self, group: Group, run: Run) -> str | None:
        """Why a run has to stay; None if nothing refers to it."""
        for parts in (run.path.absolute().parts, run.path.resolve().parts):
            for count in range(1, PARTS + 1):
                if said_by := self.ends.get(parts[-count:]):
                    return said_by
        if run.study is not None or group.kind == "sweep":
            return self._of_study(run.study or group.path.name, group.path)
        return "a Phase 4, which goes on with its runs" if group.kind == "phase4" else None

    def _of_study(self, name: str, folder: Path) -> str:
        if name in self.studies:
            return f"study {name}"
        return (
            f"study {name}, which no database asked here has; name its own with --storage, or, if it was deleted, "
            f"remove {folder} yourself"
        )


def references(found: Found, typed: Sequence[str]) -> References:
    """What reports and study databases refer to: those below the folder, and those of the folder that it is part of.

    ``typed``  URLs of databases, beside those of ``MDAF_STORAGE``, of the default, and of the files there.

    UserError if one of them cannot be read, since then it is not known what must stay.
    """
    all_of_them = References()
    whole = _whole(found.root)
    reports = {report.absolute(): report for report in found.reports}
    if whole is not None:
        reports = {report.absolute(): report for report in find(whole).reports} | reports
    for report in reports.values():
        for folder in _runs_of(report):
            all_of_them.add(folder, f"report {report}")
    for url in _databases(_homes(found.root, whole), typed):
        for name, run_dir in _run_folders(url):
            all_of_them.studies.add(name)
            if run_dir is not None:
                all_of_them.add(PurePath(run_dir), f"study {name}")
    return all_of_them


def _homes(root: Path, whole: Path | None) -> list[Path]:
    """The folders that may hold databases: this one, those above it up to that of all runs, and the one above that."""
    homes = [root.absolute(), root.resolve()]
    homes += [folder.parent for folder in homes]
    if whole is not None:
        for place in (root.absolute(), root.resolve()):
            homes += [folder for folder in place.parents if whole in folder.parents or folder in (whole, whole.parent)]
    return list(dict.fromkeys(homes))


def _whole(root: Path) -> Path | None:
    """The folder of all runs, of which a part is to be cleaned."""
    places = (root.absolute(), root.resolve())
    return next((folder for place in places for folder in place.parents[:ABOVE] if folder.name == RUNS), None)


def _runs_of(report: Path) -> Iterator[PurePath]:
    content = read_json(report, "what it refers to is not known, so nothing is removed; move it away")
    inputs = content.get("inputs")
    runs = inputs.get("runs") if isinstance(inputs, Mapping) else None
    for run in runs if isinstance(runs, list) else ():
        folder = run.get("folder") if isinstance(run, Mapping) else None
        if isinstance(folder, str) and folder and "\0" not in folder:
            yield report.parent.absolute() / folder


def _databases(homes: Sequence[Path], typed: Sequence[str]) -> list[str]:
    """The URLs to ask: typed ones have to be there, the others are asked where they are."""
    urls = [*typed, *filter(None, [os.environ.get("MDAF_STORAGE")])]
    files = [Path(DEFAULT_STORAGE.removeprefix("sqlite:///"))]
    for folder in homes:
        try:
            files += sorted(file for file in folder.iterdir() if file.is_file() and not file.is_symlink())
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be listed ({error.strerror}), so it is not known which studies refer to what; "
                "nothing is removed"
            ) from None
    for file in files:
        if url := _url_of(file):
            urls.append(url)
    return list(dict.fromkeys(urls))


def _url_of(file: Path) -> str | None:
    try:
        with file.open("rb") as content:
            start = content.read(len(_SQLITE))
    except OSError:
        return None
    if start == _SQLITE:
        return f"sqlite:///{file.absolute()}" if _holds_studies(file) else None
    is_journal = start.startswith(_JOURNAL) and file.suffix in (".log", ".journal")
    return f"journal:///{file.absolute()}" if is_journal else None


def _holds_studies(file: Path) -> bool:
    import sqlite3
    from urllib.parse import quote

    try:
        connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True, timeout=5)
        try:
            found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'studies'").fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return True  # opening it will say what is wrong
    return found is not None


def _run_folders(url: str) -> Iterable[tuple[str, str | None]]:
    """The name of each study, and with it the run folder of each of its trials that names one."""
    from mdaf.sweeper.storage.opening import open_storage
    from mdaf.sweeper.storage.optuna_internals import study_id_of

    try:
        storage = open_storage(url, create=False, read_only=True)
        for study in storage.get_all_studies():
            yield study.study_name, None
            for trial in storage.get_all_trials(study_id_of(study), deepcopy=False):
                run_dir = trial.user_attrs.get("run_dir")
                if isinstance(run_dir, str) and run_dir and "\0" not in run_dir:
                    yield study.study_name, run_dir
    except UserError as error:
        raise UserError(f"{error}; what it refers to is not known, so nothing is removed") from None
    except Exception as error:  # of the database or of Optuna
        kind = type(error).__name__
        raise UserError(f"{masked(url)}: cannot be asked ({kind}), so it is not known what to keep") from None
