"""Bad rows of a raw file, counted by kind: none is dropped or changed silently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from data.errors import DataError


@dataclass(frozen=True)
class Defects:
    """``rows`` lines were read; ``dropped`` were left out and ``corrected`` kept with a change, by kind."""

    rows: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    corrected: Mapping[str, int] = field(default_factory=dict)

    @property
    def bad(self) -> int:
        """Rows with any defect."""
        return sum(self.dropped.values()) + sum(self.corrected.values())

    def __str__(self) -> str:
        def listed(kinds: Mapping[str, int]) -> str:
            return ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count) or "none"

        return f"{self.rows:,} rows read; dropped: {listed(self.dropped)}; corrected: {listed(self.corrected)}"

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
        return {"rows": self.rows, "dropped": dict(self.dropped), "corrected": dict(self.corrected)}

    @classmethod
    def from_json(cls, plain: Mapping) -> Defects:
        """The report that ``to_json`` wrote."""
        return cls(int(plain["rows"]), dict(plain["dropped"]), dict(plain["corrected"]))
