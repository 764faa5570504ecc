"""The runs below a folder: what each is, how it ended, and which belong together. Links are never followed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml  # type: ignore[import-untyped]

from mdaf.errors import UserError
from mdaf.files.plain import plain_text
from mdaf.messages.secrets import masked_value
from mdaf.processes.identity import is_gone
from mdaf.sweeper.run_folders.recognition import is_ours, is_run
from mdaf.sweeper.runs.lock import NAME as LOCK
from mdaf.sweeper.runs.metric_columns import MONITOR, best_epoch, is_better, monitor_in
from mdaf.sweeper.runs.reader import OVERRIDES, read_metrics, read_result

DEEPEST = 7  # levels below the folder: runs/single/DATE/TIME has three
LONGEST_OVERRIDES = 1 << 20  # bytes
REMOVED = ".removed-"  # begins the name of a folder that is being removed
TRACEBACK = b"Traceback (most recent call last)"  # in the log of a run that failed

_DATE = re.compile(r"\d{4}-\d\d-\d\d")

Status = Literal["finished", "pruned", "running", "interrupted", "failed", "damaged", "foreign"]
Kind = Literal["run", "grid", "sweep", "phase4"]
_ORDER: tuple[Status, ...] = ("running", "damaged", "failed", "interrupted", "foreign", "pruned", "finished")


@dataclass(frozen=True)
class Run:
    """A run's folder.

    ``value``      of ``monitor`` at the best epoch; None where there is none.
    ``overrides``  what was typed, without passwords.
    ``study``      the study that it says to belong to.
    ``written``    unix seconds at which its newest file was written.
    ``size``       in bytes; two names of one file count once.
    """

    path: Path
    status: Status
    monitor: str = MONITOR
    value: float | None = None
    seed: int | None = None
    overrides: tuple[str, ...] = ()
    study: str | None = None
    data_hash: str | None = None
    written: float = 0.0
    size: int = 0
    remark: str = ""


@dataclass(frozen=True)
class Group:
    """Runs of one command: a single run, a grid, a sweep or a Phase 4. ``has_report``: of a Phase 4."""

    kind: Kind
    path: Path
    runs: list[Run]
    has_report: bool = False

    @property
    def status(self) -> Status:
        found = {run.status for run in self.runs}
        if self.has_report and "running" not in found:
            return "finished"
        return next(status for status in _ORDER if status in found)

    @property
    def best(self) -> Run | None:
        """The finished run with the best value; None if there is none, or if their monitors differ."""
        return best_of(self.runs)


@dataclass
class Found:
    """What lies below a folder.

    ``reports``   every report.json.
    ``leftover``  folders that a killed ``clean`` has left.
    ``notes``     what could not be read, or is not of this program.
    """

    root: Path
    groups: list[Group] = field(default_factory=list)
    reports: list[Path] = field(default_factory=list)
    leftover: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def best_of(runs: Sequence[Run]) -> Run | None:
    """The finished run with the best value; None if there is none, or if they are not judged by one metric."""
    finished = [run for run in runs if run.status == "finished" and run.value is not None]
    if len({run.monitor for run in finished}) != 1:
        return None
    best = finished[0]
    for run in finished[1:]:
        if is_better(run.monitor, run.value or 0.0, best.value or 0.0):
            best = run
    return best


def find(root: Path) -> Found:
    """The runs below a folder. UserError if that is none."""
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder; expected the one that holds runs, such as runs")
    found = Found(root)
    groups: dict[Path, list[Run]] = {}
    markers: dict[Path, set[str]] = {}
    _walk(root, 0, found, groups, markers)
    reported = {report.parent.parent for report in found.reports}
    for path, runs in sorted(groups.items()):
        kind = _kind(path, runs, markers.get(path, set()))
        found.groups.append(Group(kind, path, runs, path in reported and kind == "phase4"))
    return found


def _walk(folder: Path, depth: int, found: Found, groups: dict[Path, list[Run]], markers: dict[Path, set[str]]) -> bool:
    """Looks at a folder; whether anything in it is of this program."""
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=_by_number)
    except OSError as error:
        found.notes.append(f"{folder}: cannot be read: {error.strerror}")
        return True
    names = {entry.name for entry in entries}
    is_empty = not names and _DATE.fullmatch(folder.parent.name) is not None  # of a command that ended at once
    if is_run(names) or is_empty:
        try:
            run = _run(folder, entries, names)
        except OSError as error:
            found.notes.append(f"{folder}: cannot be read: {error.strerror}")
            return True
        groups.setdefault(_home_of(folder, run), []).append(run)
        return True
    if "report.json" in names:
        found.reports.append(folder / "report.json")
    is_known = not names or bool({"report.json", "store.json", "looks.jsonl"} & names)
    markers[folder] = names
    strange: list[str] = []
    for entry in entries if depth < DEEPEST and "store.json" not in names else ():
        path = folder / entry.name
        if entry.is_symlink() and os.path.isdir(entry.path):
            found.notes.append(f"{path}: a link to a folder, which is not followed")
        elif entry.is_dir(follow_symlinks=False) and entry.name.startswith(REMOVED):
            found.leftover.append(path)
        elif entry.is_dir(follow_symlinks=False):
            known = _walk(path, depth + 1, found, groups, markers)
            is_known |= known
            strange += [] if known else [str(path)]
    if (is_known or depth == 0) and strange:
        found.notes += [f"{path}: holds no run of this program" for path in strange]
    return is_known


def _by_number(entry: os.DirEntry[str]) -> tuple[int, str]:
    return (int(entry.name), "") if entry.name.isdecimal() and len(entry.name) < 10 else (1 << 40, entry.name)


def _run(folder: Path, entries: Sequence[os.DirEntry[str]], names: set[str]) -> Run:
    files: dict[int, os.stat_result] = {}
    for entry in entries:
        with suppress(FileNotFoundError):  # a run that is running exchanges its files
            state = entry.stat(follow_symlinks=False)
            files[state.st_ino] = state
    written = max((state.st_mtime for state in files.values()), default=0.0) or folder.stat().st_mtime
    size = sum(state.st_size for state in files.values() if stat.S_ISREG(state.st_mode))
    about: dict[str, Any] = {"path": folder, "written": written, "size": size}
    overrides = _overrides(folder)
    about["overrides"] = tuple(masked_value(text) for text in overrides if not text.startswith("sweep."))
    about["study"] = next((text.partition("=")[2] for text in overrides if text.startswith("sweep.study=")), None)
    if not is_ours(names):
        return Run(status="foreign", **about)
    try:
        result = read_result(folder, needs=()) or {}
    except UserError as error:
        return Run(status="damaged", remark=str(error), **about)
    monitor = monitor_in(result)
    about |= {"monitor": monitor, "seed": result.get("seed", _seed(overrides)), "data_hash": result.get("data_hash")}
    about["study"] = result.get("study") or about["study"]
    if "state" in result:
        value = result.get("best", {}).get(monitor)
        status: Status = "pruned" if result["state"] == "pruned" else "finished"
        return Run(status="running" if _is_running(folder, names) else status, value=value, **about)
    return Run(status=_unfinished(folder, names), value=_value_so_far(folder, names), **about)


def _unfinished(folder: Path, names: set[str]) -> Status:
    if _is_running(folder, names):
        return "running"
    return "failed" if "train.log" in names and _has_traceback(folder / "train.log") else "interrupted"


def _is_running(folder: Path, names: set[str]) -> bool:
    """Whether the owner of the lock lives, or may live: on another machine that cannot be known here."""
    if LOCK not in names:
        return False
    try:
        return is_gone(plain_text(folder / LOCK).read_text(errors="replace")[:1000]) is not True
    except OSError:
        return True


def _has_traceback(log: Path) -> bool:
    try:
        with plain_text(log).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - (1 << 16)))
            return TRACEBACK in file.read()
    except OSError:
        return False


def _value_so_far(folder: Path, names: set[str]) -> float | None:
    if "metrics.csv" not in names:
        return None
    try:
        value = best_epoch(read_metrics(folder)).get(MONITOR)
    except (UserError, ValueError):
        return None
    return None if value is None else float(value)


def _overrides(folder: Path) -> list[str]:
    """What was typed for a run; nothing where that cannot be read."""
    try:
        file = plain_text(folder / OVERRIDES)
        if file.stat().st_size > LONGEST_OVERRIDES:
            return []
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        said = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return []
    return [text for text in said if isinstance(text, str)] if isinstance(said, list) else []


def _seed(overrides: Sequence[str]) -> int | None:
    typed = [text.partition("=")[2] for text in overrides if text.startswith("seed=")]
    return int(typed[-1]) if typed and typed[-1].isdecimal() and len(typed[-1]) < 20 else None


def _home_of(folder: Path, run: Run) -> Path:
    """The folder of the command that a run belongs to; a single run is its own."""
    if folder.name.startswith("seed-"):
        return folder.parent.parent
    return folder.parent if folder.name.isdecimal() or run.study is not None else folder


def _kind(path: Path, runs: Sequence[Run], names: set[str]) -> Kind:
    if len(runs) == 1 and runs[0].path == path:
        return "run"
    if runs[0].path.name.startswith("seed-"):
        return "phase4"
    is_sweep = "optimization_results.yaml" in names or any(run.study is not None for run in runs)
    return "sweep" if is_sweep or path.parent.name == "studies" else "grid"


def differing(runs: Sequence[Run]) -> list[str]:
    """The keys whose typed values differ among runs, in the order in which they were typed."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for key, value in _pairs(run):
            values.setdefault(key, set()).add(value)
    return [key for key, found in values.items() if len(found) > 1]


def _pairs(run: Run) -> Iterator[tuple[str, str]]:
    for text in run.overrides:
        key, _, value = text.partition("=")
        yield key, value
