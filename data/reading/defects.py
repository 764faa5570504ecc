"""Bad rows of a raw file, counted by kind: none is dropped or changed silently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from mdaf.errors import DataError


@dataclass(frozen=True)
class Defects:
    """``rows`` lines were read; ``dropped`` were left out and ``corrected`` kept with a change, by kind.

    ``incomplete``  rows that were kept though something about them is not known: not counted as bad.
    """

    rows: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    corrected: Mapping[str, int] = field(default_factory=dict)
    incomplete: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Defects) -> Defects:
        """Both reports in one, without the kinds that did not occur."""

        def summed(one: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
            kinds = dict.fromkeys((*one, *more))
            counts = {kind: one.get(kind, 0) + more.get(kind, 0) for kind in kinds}
            return {kind: count for kind, count in counts.items() if count}

        return Defects(
            self.rows + other.rows,
            summed(self.dropped, other.dropped),
            summed(self.corrected, other.corrected),
            summed(self.incomplete, other.incomplete),
        )

    @property
    def bad(self) -> int:
        """Rows with any defect."""
        return sum(self.dropped.values()) + sum(self.corrected.values())

    def __str__(self) -> str:
        def listed(kinds: Mapping[str, int]) -> str:
            return ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count) or "none"

        incomplete = f"; incomplete: {listed(self.incomplete)}" if self.incomplete else ""
        return (
            f"{self.rows:,} rows read; dropped: {listed(self.dropped)}; corrected: {listed(self.corrected)}{incomplete}"
        )

    def refuse_if_too_many(self, name: str, max_bad_fraction: float) -> None:
        """DataError if no row of ``name`` is usable or more than ``max_bad_fraction`` of them are bad."""
        if self.rows - sum(self.dropped.values()) == 0:
            raise DataError(f"{name}: no usable row ({self})")
        share = self.bad / self.rows
        if share > max_bad_fraction:
            raise DataError(
                f"{name}: {share:.1%} of the rows are bad, data.max_bad_fraction allows {max_bad_fraction:.1%} ({self})"
            )

    def to_json(self) -> dict[str, object]:
        """This report in plain types."""
        return {
            "rows": self.rows,
            "dropped": dict(self.dropped),
            "corrected": dict(self.corrected),
            "incomplete": dict(self.incomplete),
        }

    @classmethod
    def from_json(cls, plain: Mapping) -> Defects:
        """The report that ``to_json`` wrote."""
        return cls(int(plain["rows"]), dict(plain["dropped"]), dict(plain["corrected"]), dict(plain["incomplete"]))


KIND = "kind"  # a column that names what is wrong with a row, null in a good one


def sifted(rows: pl.DataFrame) -> tuple[pl.DataFrame, Defects]:
    """The rows without a defect, and a report of the others; ``rows`` has the column ``KIND``, which goes."""
    kinds = dict(rows[KIND].drop_nulls().value_counts(sort=True).iter_rows())
    return rows.filter(pl.col(KIND).is_null()).drop(KIND), Defects(len(rows), kinds)


def with_kinds(rows: pl.DataFrame, kinds: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """``rows`` in which those without a defect so far have the first of ``kinds`` that applies to them."""
    for kind, applies in kinds.items():
        found = pl.when(pl.col(KIND).is_null() & applies).then(pl.lit(kind)).otherwise(pl.col(KIND))
        rows = rows.with_columns(found.alias(KIND))
    return rows
