"""The command ``mdaf runs``: lists what lies below runs/; ``mdaf runs clean`` removes some of it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mdaf.errors import UserError, did_you_mean
from mdaf.messages.reporting import reported_in_one_line
from mdaf.sweeper.run_folders import table
from mdaf.sweeper.run_folders.found import Found, Group, Run, best_of, find
from mdaf.sweeper.run_folders.references import references
from mdaf.sweeper.run_folders.removal import GoneError, remove, remove_empty, remove_leftover, why_it_stays
from mdaf.terminal import output
from mdaf.terminal.parser import Parser
from mdaf.terminal.printable import in_a_line
from mdaf.terminal.programs import command

CLEAN = "clean"
JUST_NOW = 60.0  # seconds: a grid that wrote so lately may be between two of its runs
_PRINT = {"table": table.print_table, "json": table.print_json, "csv": table.print_csv}


def _list_parser() -> argparse.ArgumentParser:
    program = f"{command('sweeper')} runs"
    parser = Parser(
        prog=program,
        description="Lists runs, grids (-m), sweeps and Phase 4s below a folder: how they ended, the best value, age, "
        "size. Reads only.",
        epilog=f"To remove failed and interrupted runs, or all but the best: {program} clean --help",
    )
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--each", action="store_true", help="a line for each run, also of grids and sweeps")
    parser.add_argument("--format", choices=tuple(_PRINT), default="table", help="default: %(default)s")
    return parser


def _clean_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"{command('sweeper')} runs {CLEAN}",
        description="Removes runs: shows which, and how much that frees, and asks. Never what a study or a report "
        "refers to, what runs now, or a folder with files that this program did not write.",
    )
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--failed", action="store_true", help="runs that ended with an error")
    parser.add_argument("--interrupted", action="store_true", help="runs that have not ended; resume=auto needs them")
    parser.add_argument(
        "--all-but-best",
        action="store_true",
        help="finished runs: of each grid all but its best, of single runs on the same data all but the best",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        action="append",
        default=[],
        help="a further study database, which is asked what it refers to",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 1 if something was not removed. SystemExit 2 for a mistake of the user."""
    output.make_safe()
    words = list(sys.argv[1:] if arguments is None else arguments)
    with reported_in_one_line(interrupted="runs that were not removed yet stay"):
        if words[:1] == [CLEAN]:
            return _clean(_clean_parser().parse_args(words[1:]))
        options = _list_parser().parse_args(words)
        if not options.folder.exists() and (meant := did_you_mean(str(options.folder), [CLEAN])):
            raise UserError(f"{options.folder}: there is no such folder{meant}")
        _list(options)
    return 0


def _list(options: argparse.Namespace) -> None:
    found = find(options.folder)
    if options.each:
        rows = [table.row_of_run(run) for group in found.groups for run in group.runs]
    else:
        rows = [table.row_of(group) for group in found.groups]
    _say_notes(found)
    if rows or options.format != "table":
        _PRINT[options.format](rows)
    else:
        print(f"{options.folder}: holds no run yet", file=sys.stderr)


def _clean(options: argparse.Namespace) -> int:
    if not (options.failed or options.interrupted or options.all_but_best):
        raise UserError("say which runs to remove: --failed, --interrupted or --all-but-best, or several of them")
    root = options.folder
    found = find(root)
    _say_notes(found)
    chosen, kept = _chosen(found, options)
    for why in kept:
        print(f"stays: {in_a_line(why)}", file=sys.stderr)
    if not chosen and not found.leftover:
        print("nothing to remove")
        return 0
    if chosen:
        table.print_table([table.row_of_run(run) for run in chosen])
    print(f"{_several(len(chosen))}, {table.size(sum(run.size for run in chosen))}")
    if not options.yes and not _agreed():
        print("nothing was removed")
        return 1
    return _removed(root, chosen, found.leftover)


def _chosen(found: Found, options: argparse.Namespace) -> tuple[list[Run], list[str]]:
    """The runs to remove, and a line for each reason why others of those asked for stay."""
    wanted = [(group, run) for group in found.groups for run in group.runs if _is_wanted(run, options)]
    if options.all_but_best:
        wanted += _all_but_best(found.groups)
    if not wanted:
        return [], []
    referred = references(found, options.storage)
    chosen: list[Run] = []
    kept: dict[str, list[Run]] = {}
    for group, run in wanted:
        why = _why_busy(group) or referred.why_kept(group, run)
        why = why or why_it_stays(options.folder, run.path)
        if why is None:
            chosen.append(run)
        else:
            kept.setdefault(why, []).append(run)
    return chosen, [f"{runs[0].path}{_and_more(runs)}: {why}" for why, runs in kept.items()]


def _is_wanted(run: Run, options: argparse.Namespace) -> bool:
    return (options.failed and run.status == "failed") or (options.interrupted and run.status == "interrupted")


def _all_but_best(groups: Sequence[Group]) -> list[tuple[Group, Run]]:
    """The finished runs of each grid, and of the single runs on each data, without the best one."""
    found: list[tuple[Group, Run]] = []
    single: dict[tuple[str | None, str], list[tuple[Group, Run]]] = {}
    for group in groups:
        if group.kind == "run":
            single.setdefault((group.runs[0].data_hash, group.runs[0].monitor), []).append((group, group.runs[0]))
        elif group.kind == "grid":
            found += _without_best([(group, run) for run in group.runs])
    for pairs in single.values():
        found += _without_best(pairs)
    return found


def _without_best(pairs: Sequence[tuple[Group, Run]]) -> list[tuple[Group, Run]]:
    best = best_of([run for _, run in pairs])
    return [(group, run) for group, run in pairs if best is not None and run.status == "finished" and run is not best]


def _why_busy(group: Group) -> str | None:
    """Why the runs of a grid must stay for now; None if it is not at work."""
    if any(run.status == "running" for run in group.runs):
        return "its grid runs"
    if group.kind != "run" and time.time() - max(run.written for run in group.runs) < JUST_NOW:
        return "its grid wrote something in the last minute"  # between two runs of a grid none is running
    return None


def _and_more(runs: Sequence[Run]) -> str:
    return f" and {len(runs) - 1} more" if len(runs) > 1 else ""


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UserError("nobody can be asked whether to remove them, since there is no terminal; add --yes")
    try:
        return input("Remove them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        return False


def _removed(root: Path, chosen: Sequence[Run], leftover: Sequence[Path]) -> int:
    count = freed = failed = 0
    for run in chosen:
        try:
            why = remove(root, run.path)
        except GoneError:
            continue  # the other command counts it
        if why:
            print(f"stays: {in_a_line(f'{run.path}: {why}')}", file=sys.stderr)
            failed += 1
            continue
        remove_empty(root, run.path.parent)
        count, freed = count + 1, freed + run.size
    for folder in leftover:
        if why := remove_leftover(root, folder):
            print(f"stays: {in_a_line(f'{folder}: {why}')}", file=sys.stderr)
            failed += 1
    print(f"removed {_several(count)}, {table.size(freed)}")
    return 1 if failed else 0


def _several(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _say_notes(found: Found) -> None:
    notes = [*found.notes, *(f"{path}: a removal was cut short here; clean ends it" for path in found.leftover)]
    for note in notes[:20]:
        print(f"note: {in_a_line(note)}", file=sys.stderr)
    if len(notes) > 20:
        print(f"note: and {len(notes) - 20} more", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
