"""What a report's page is made of, and how figures are written in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mdaf.multirun.analysis.wording import ABSENT


@dataclass(frozen=True)
class Text:
    """A paragraph of plain sentences."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: Sequence[str]
    kind: str = "items"


@dataclass(frozen=True)
class Table:
    """Rows of cells that are text already. The first cell of a row is its heading."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    kind: str = "table"

    @staticmethod
    def of_what_is_known(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> Table:
        """A table without the columns in which no row has a value."""
        known = [place for place in range(len(header)) if any(row[place] not in ("", ABSENT) for row in rows)]
        return Table([header[place] for place in known], [[row[place] for place in known] for row in rows], caption)


@dataclass(frozen=True)
class Chart:
    """A figure by its name among the report's charts, with a sentence that says how to read it."""

    name: str
    caption: str
    kind: str = "chart"


#: The caption of a picture of seeds begins so.
DOTS = "Each small dot is one seed, the large dot is the mean"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer, as a page begins with it.

    ``lead``     it in one sentence; ``caveats``: what qualifies every figure; ``why``: the figures behind it.
    ``chart``    its picture.
    ``deploy``   what to do; ``command``: the line to type for that, ``note``: what it is; both None if there is none.
    """

    lead: str
    caveats: Sequence[str]
    why: str
    chart: Chart | None
    deploy: str
    command: str | None = None
    note: str | None = None
    kind: str = "verdict"


@dataclass(frozen=True)
class Fold:
    """Blocks that a page shows only when they are asked for: raw tables."""

    title: str
    blocks: Sequence[Block]
    kind: str = "fold"


Block = Text | Items | Table | Chart | Verdict | Fold


def every(blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks, and those that are folded away in them or are a part of the verdict."""
    for block in blocks:
        yield block
        if isinstance(block, Fold):
            yield from every(block.blocks)
        elif isinstance(block, Verdict) and block.chart is not None:
            yield block.chart


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it. ``folded``: whether a page shows that only when it is asked for."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    folded: bool = False

    @property
    def anchor(self) -> str:
        """As a link's target."""
        return self.title.lower().replace(" ", "-").replace(",", "")


def in_a_sentence(section: Section) -> str:
    """The verdict of the section that begins with it."""
    return next(block.lead for block in section.blocks if isinstance(block, Verdict))
