"""Draws who imports whom, from the code, into docs/architecture.md: ``python docs/making/draw_imports.py``.

The page holds two pictures between comments, as mermaid text. ``--check`` changes nothing and ends with 1 if they are
not those of the code.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/architecture.md"
ROOMS = ("conf", "data", "model", "sweeper", "multirun")
HALVES = {
    "for any Hydra program": ("search", "racing", "trials", "storage", "study", "hydra_ext"),
    "for click-through-rate models": ("job", "training", "runs", "machine"),
}
Arrows = set[tuple[str, str]]


def imported(file: Path) -> Iterator[str]:
    """Modules and names below ``mdaf`` that a file imports, at its top or within a function; not for types alone."""
    tree = ast.parse(file.read_text())
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports() -> Iterator[tuple[str, str]]:
    """Pairs of dotted names: a file of ours, and what of ours it imports."""
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            for target in imported(file):
                if target.startswith("mdaf.") and target.split(".")[1] in ROOMS:
                    yield name, target.removeprefix("mdaf.")


def between_rooms() -> Arrows:
    """Arrows between the folders at the root. Those to the ground floor ``mdaf`` are left out, since all have them."""
    pairs = ((source.split(".")[0], target.split(".")[0]) for source, target in imports())
    return {(source, target) for source, target in pairs if source != target}


def within_sweeper() -> Arrows:
    """Arrows between the folders of ``sweeper``."""
    folders = {folder for half in HALVES.values() for folder in half}
    found = set()
    for source, target in imports():
        source_path, target_path = source.split("."), target.split(".")
        if source_path[0] == target_path[0] == "sweeper" and {source_path[1], *target_path[1:2]} <= folders:
            found.add((source_path[1], target_path[1]))
    return {(source, target) for source, target in found if source != target}


def reduced(arrows: Arrows) -> Arrows:
    """The arrows that do not follow from two or more others. Arrows of a circle all stay."""

    def reaches(start: str, goal: str, without: tuple[str, str]) -> bool:
        seen, waiting = {start}, [start]
        while waiting:
            box = waiting.pop()
            for source, target in arrows:
                if source == box and (source, target) != without and target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return goal in seen

    return {arrow for arrow in arrows if reaches(arrow[1], arrow[0], arrow) or not reaches(*arrow, without=arrow)}


def mermaid(arrows: Arrows, groups: dict[str, tuple[str, ...]]) -> str:
    """The picture as text, boxes of a group together."""
    lines = ["```mermaid", "flowchart TD"]
    for number, (title, boxes) in enumerate(groups.items()):
        lines += [f'    subgraph half{number}["{title}"]', *(f"        {box}" for box in boxes), "    end"]
    lines += [f"    {source} --> {target}" for source, target in sorted(reduced(arrows))]
    return "\n".join([*lines, "```"])


def drawn(page: str) -> str:
    """The page with both pictures as the code has them now."""
    pictures = {"rooms": mermaid(between_rooms(), {}), "sweeper": mermaid(within_sweeper(), HALVES)}
    for name, picture in pictures.items():
        begin, end = f"<!-- picture of {name}: begin -->\n", f"<!-- picture of {name}: end -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}{picture}\n{end}{after}"
    return page


def main() -> None:
    page = PAGE.read_text()
    current = drawn(page)
    if "--check" in sys.argv:
        sys.exit(int(page != current))
    PAGE.write_text(current)


if __name__ == "__main__":
    main()
