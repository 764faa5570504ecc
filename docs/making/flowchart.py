"""Draws a small mermaid flowchart as SVG, so that the site shows it without a network and without mermaid's script.

It knows what docs/making/draw_imports.py writes: ``flowchart TD``, ``subgraph ID["title"]``, boxes and ``A --> B``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 110, 34  # of a box, in pixels
GAP, DROP = 22, 34  # between boxes of a row, and between rows
MARGIN, TITLE = 14, 24
BEND = "\0"  # a point on the way of a long arrow takes a place in its row, so that the arrow passes beside the boxes


@dataclass
class Chart:
    """Boxes by group, in the order in which they are named, and arrows between boxes."""

    groups: dict[str, list[str]] = field(default_factory=dict)
    arrows: list[tuple[str, str]] = field(default_factory=list)

    @staticmethod
    def of(text: str) -> Chart:
        """Reads the text of a flowchart. ValueError for a line of another kind."""
        chart, group = Chart(), ""
        for line in filter(None, map(str.strip, text.splitlines())):
            if title := re.fullmatch(r'subgraph \w+\["(.*)"\]', line):
                group = title[1]
            elif line == "end":
                group = ""
            elif arrow := re.fullmatch(r"(\w+) --> (\w+)", line):
                chart.arrows.append((arrow[1], arrow[2]))
                for box in arrow.groups():
                    chart._add(box, group)
            elif re.fullmatch(r"\w+", line):
                chart._add(line, group)
            elif line != "flowchart TD":
                raise ValueError(f"a flowchart of the documentation has a line that is not drawn: {line!r}")
        return chart

    def _add(self, box: str, group: str) -> None:
        if not any(box in boxes for boxes in self.groups.values()):
            self.groups.setdefault(group, []).append(box)

    def rows(self) -> dict[str, int]:
        """The row of each box: above all that it points at, and as low as that allows."""
        below: dict[str, int] = {}

        def depth(box: str, on_the_way: tuple[str, ...] = ()) -> int:
            if box not in below:
                targets = [target for source, target in self.arrows if source == box and target not in on_the_way]
                below[box] = max((depth(target, (*on_the_way, box)) + 1 for target in targets), default=0)
            return below[box]

        depths = {box: depth(box) for boxes in self.groups.values() for box in boxes}
        return {box: max(depths.values()) - depths[box] for box in depths}


def svg(text: str, label: str) -> str:
    """The flowchart ``text`` as one SVG element, whose colours are those of the page."""
    chart = Chart.of(text)
    rows = chart.rows()
    places: dict[str, tuple[float, float]] = {}
    paths: list[list[str]] = [_bends(source, target, rows) for source, target in chart.arrows]
    parts: list[str] = []
    titled = any(chart.groups)
    left = float(MARGIN)
    for title, boxes in chart.groups.items():
        width = _place(boxes, paths, rows, left, MARGIN + TITLE * titled, places)
        if title:
            height = (max(rows.values()) + 1) * (HEIGHT + DROP) + TITLE
            parts.append(
                f'<rect class="group" x="{left:.0f}" y="2" width="{width:.0f}" height="{height}" rx="8"/>'
                f'<text class="title" x="{left + width / 2:.0f}" y="{MARGIN + 8}">{escape(title)}</text>'
            )
        left += width + GAP
    parts += [_arrow([places[point] for point in path]) for path in paths]
    for box in rows:
        x, y = places[box]
        parts.append(
            f'<rect x="{x - WIDTH / 2:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
            f'<text x="{x:.0f}" y="{y + HEIGHT / 2 + 5:.0f}">{escape(box)}</text>'
        )
    height = (max(rows.values()) + 1) * (HEIGHT + DROP) + MARGIN + TITLE * titled
    return (
        f'<svg class="flowchart" viewBox="0 0 {left:.0f} {height}" style="max-width:{left:.0f}px" role="img" '
        f'aria-label="{escape(label, quote=True)}"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" '
        f'markerWidth="7" markerHeight="7" orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>'
        f"{''.join(parts)}</svg>"
    )


def _bends(source: str, target: str, rows: dict[str, int]) -> list[str]:
    """The points of an arrow's way: its boxes, and between them a bend for each row that it crosses."""
    crossed = range(rows[source] + 1, rows[target])
    return [source, *(f"{BEND}{source}{BEND}{target}{BEND}{row}" for row in crossed), target]


def _place(
    boxes: list[str],
    paths: list[list[str]],
    rows: dict[str, int],
    left: float,
    top: float,
    places: dict[str, tuple[float, float]],
) -> float:
    """Puts the boxes of a group, and the bends of arrows that end in it, into ``places``. Returns the group's width."""
    members: dict[int, list[str]] = {}
    above: dict[str, list[str]] = {}
    for box in boxes:
        members.setdefault(rows[box], []).append(box)
    for path in paths:
        for before, point in pairwise(path):
            above.setdefault(point, []).append(before)
            if point.startswith(BEND) and path[-1] in boxes:
                members.setdefault(int(point.rpartition(BEND)[2]), []).append(point)
    taken = {
        row: sum(GAP if point.startswith(BEND) else WIDTH + GAP for point in found) for row, found in members.items()
    }
    width = max(taken.values()) + MARGIN
    for row in sorted(members):

        def wanted(point: str) -> float:
            known = [places[one][0] for one in above.get(point, ()) if one in places]
            return sum(known) / len(known) if known else left

        x = left + (width - taken[row]) / 2
        for point in sorted(members[row], key=wanted):
            places[point] = (x + _space(point) / 2, top + row * (HEIGHT + DROP))
            x += _space(point)
    return width


def _space(point: str) -> int:
    return GAP if point.startswith(BEND) else WIDTH + GAP


def _arrow(points: list[tuple[float, float]]) -> str:
    """A smooth line from the first box's lower edge to the last one's upper edge."""
    (x, y), *others = points
    y += HEIGHT
    way = f"M{x:.0f} {y:.0f}"
    for number, (to_x, to_y) in enumerate(others):
        middle = (y + to_y) / 2
        way += f"C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y:.0f}"
        x, y = to_x, to_y
        if number < len(others) - 1:
            y += HEIGHT
            way += f"V{y:.0f}"
    return f'<path class="arrow" d="{way}" marker-end="url(#tip)"/>'
