"""What a report's page is made of, and how figures are written in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


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
    """Rows of cells that are text already."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    kind: str = "table"


@dataclass(frozen=True)
class Chart:
    """A figure by its name in ``charts.CHARTS``, with a sentence that says how to read it."""

    name: str
    caption: str
    kind: str = "chart"


Block = Text | Items | Table | Chart


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """As a link's target."""
        return self.title.lower().replace(" ", "-").replace(",", "")
