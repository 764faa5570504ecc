"""What README and Start show: commands, and what they print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.processes import ROOT

BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w.]*[A-Za-z])")
BORDER = re.compile(r"[┏┳┓┡╇┩└┴┘├┼┤─━╭╮╰╯│┃]+")
TIMED = re.compile(r"\[\d\d:\d\d:\d\d\]|\d+(?:\.\d+)? s\b|\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d")
ANYTHING = "..."


@dataclass(frozen=True)
class Shown:
    """A command of a page as it is typed, and the lines that the page shows of its output."""

    command: str
    output: list[str]


def shown(page: str) -> Iterator[Shown]:
    """The commands of a page that begin with ``$`` in a block of code, with what follows them there."""
    for block in BLOCK.findall((ROOT / page).read_text()):
        if block.startswith("$ "):
            command, _, output = block.removeprefix("$ ").partition("\n")
            while command.endswith("\\"):
                more, _, output = output.partition("\n")
                command = command[:-1] + more.lstrip()
            yield Shown(command, output.splitlines())


def plain(line: str) -> str:
    """A line without what a terminal's width, the clock and the speed of a machine decide."""
    return " ".join(TIMED.sub("T", BORDER.sub(" ", line)).split())


def like(shown: str, printed: str, tolerance: float) -> bool:
    """Whether two plain lines have the same words, and numbers that differ by at most ``tolerance``."""
    if NUMBER.sub("0", shown) != NUMBER.sub("0", printed):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(abs(float(a.replace(",", "")) - float(b.replace(",", ""))) <= tolerance for a, b in pairs)


def missing(shown: Shown, printed: str, tolerance: float = 0.0) -> list[str]:
    """The lines of a command that the page shows and that its output does not have, in that order.

    ``...`` stands for any number of lines, and so does the beginning of the output.
    """
    lines = [plain(line) for line in printed.splitlines()]
    absent, at = [], 0
    for line in filter(None, map(plain, shown.output)):
        if line == ANYTHING:
            continue
        found = next((n for n in range(at, len(lines)) if like(line, lines[n], tolerance)), None)
        if found is None:
            absent.append(line)
        else:
            at = found + 1
    return absent
