"""How far many runs are, as a block on the terminal: how many have ended, of how many, and how long the rest takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mdaf.terminal.durations import in_words, time_of
from mdaf.terminal.printable import in_a_line
from mdaf.terminal.watched import Watched

BAR = 20  # columns
HEADING = 9  # columns, so that the second column stays where it is when a line comes or goes


def block(rows: dict[str, str], share: float | None = None) -> Table:
    """Rows of a heading and a text, which is wrapped and never cut; below the second a bar shows ``share`` of 1."""
    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(style="bold", no_wrap=True, min_width=HEADING)
    drawn.add_column(overflow="fold")
    for number, (heading, text) in enumerate(rows.items(), 1):
        drawn.add_row(Text(heading), Text(in_a_line(text)))
        if number == 2 and share is not None:
            drawn.add_row(Text(), ProgressBar(total=1.0, completed=share, width=BAR))
    return drawn


class Runs(Watched):
    """The block of many runs, drawn while the context lasts.

    ``title``   what they are for: heading and text of the first line.
    ``count``   says how many have ended; a thread calls it every second.
    ``least``   how many there will be at least, and ``most`` at most.
    ``others``  show their output above the block: processes that begin within the context.
    """

    def __init__(
        self, title: tuple[str, str], count: Callable[[], int], least: int, most: int, *, others: bool = False
    ) -> None:
        super().__init__(processes=others)
        self._stage = ""
        self._title, self._count = title, count
        self._least, self._most = least, most
        self._ends: list[float] = []  # when each run was seen to have ended (unix seconds)
        self._began = time.time()

    def is_shown(self) -> bool:
        """Whether any run is planned."""
        return self._most > 0

    def say(self, stage: str) -> None:
        """What is done now, in words."""
        self._stage = stage

    def rows(self, now: float) -> dict[str, str]:
        """The lines by their headings."""
        done = len(self._ends)
        total = str(self._most) if self._least == self._most else f"{self._least} to {self._most}"
        rows = {self._title[0]: self._title[1], "runs": f"{done} of {total} done"}
        if self._stage:
            rows["now"] = self._stage
        if done < self._most:
            rows["left"] = self._left(now)
        return rows

    def _left(self, now: float) -> str:
        if not self._ends:
            return "known when a run has ended"
        first, last, done = self._ends[0], self._ends[-1], len(self._ends)
        if last > first:  # without the first runs, which also compile
            later = sum(end > first for end in self._ends)
            pace, said = (last - first) / later, "about"
        else:
            pace, said = (last - self._began) / done, "at most"
        seconds = [max(0.0, (total - done) * pace - (now - last)) for total in (self._least, self._most)]
        until = time_of(now + seconds[1], now)
        if self._least == self._most or seconds[0] == seconds[1]:
            return f"{said} {in_words(seconds[1])}, until {until}"
        return f"{said} {in_words(seconds[0])} to {in_words(seconds[1])}, until {until} at the latest"

    def drawn(self) -> Table:
        """The block as it is now."""
        return block(self.rows(time.time()), min(1.0, len(self._ends) / self._most))

    def look(self) -> None:
        """Notes the runs that have ended since the last look."""
        self._ends += [time.time()] * (self._count() - len(self._ends))
