"""Counts the bad rows of a raw file by kind, so that no row is dropped or changed silently. All sources use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mdaf.errors import DataError
from mdaf.terminal.printable import in_a_line


@dataclass(frozen=True)
class Defects:
    """The numbers of bad rows of a raw file.

    ``rows``        rows that were read.
    ``dropped``     by kind, rows that were left out.
    ``corrected``   by kind, rows that were kept with a change.
    ``incomplete``  by kind, rows or samples that lack something unknown. They do not count as bad.
    ``examples``    by kind, the place and the content of its first row, if known.
    """

    rows: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    corrected: Mapping[str, int] = field(default_factory=dict)
    incomplete: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __add__(self, other: Defects) -> Defects:
        """The sum of both, without kinds that did not occur."""

        def summed(one: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
            kinds = dict.fromkeys((*one, *more))
            counts = {kind: one.get(kind, 0) + more.get(kind, 0) for kind in kinds}
            return {kind: count for kind, count in counts.items() if count}

        return Defects(
            self.rows + other.rows,
            summed(self.dropped, other.dropped),
            summed(self.corrected, other.corrected),
            summed(self.incomplete, other.incomplete),
            {**other.examples, **self.examples},
        )

    @property
    def bad(self) -> int:
        """The number of rows that were dropped or corrected."""
        return sum(self.dropped.values()) + sum(self.corrected.values())

    def __str__(self) -> str:
        def listed(kinds: Mapping[str, int]) -> str:
            found = (f"{count:,} {kind}{self._first(kind)}" for kind, count in kinds.items() if count)
            return ", ".join(found) or "none"

        incomplete = f"; incomplete: {listed(self.incomplete)}" if self.incomplete else ""
        return in_a_line(
            f"{self.rows:,} rows read; dropped: {listed(self.dropped)}; corrected: {listed(self.corrected)}{incomplete}"
        )

    def _first(self, kind: str) -> str:
        return f" ({self.examples[kind]})" if kind in self.examples else ""

    def refuse_if_too_many(self, name: str, max_bad_fraction: float, hint: str = "") -> None:
        """Raises DataError if no row of ``name`` is usable, or if more than ``max_bad_fraction`` of them are bad."""
        if self.rows - sum(self.dropped.values()) == 0:
            raise DataError(f"{name}: no usable row ({self}){hint}")
        share = self.bad / self.rows
        if share > max_bad_fraction:
            raise DataError(
                f"{name}: {share:.1%} of the rows are bad, data.max_bad_fraction allows {max_bad_fraction:.1%} ({self})"
                f"{hint}"
            )

    def to_json(self) -> dict[str, object]:
        """The numbers in types that JSON has."""
        return {
            "rows": self.rows,
            "dropped": dict(self.dropped),
            "corrected": dict(self.corrected),
            "incomplete": dict(self.incomplete),
            "examples": dict(self.examples),
        }

    @classmethod
    def from_json(cls, plain: Mapping) -> Defects:
        """The numbers from what ``to_json`` returned."""
        dropped, corrected, incomplete = (dict(plain[name]) for name in ("dropped", "corrected", "incomplete"))
        return cls(int(plain["rows"]), dropped, corrected, incomplete, dict(plain.get("examples", {})))
