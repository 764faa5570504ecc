"""Side tables: files that describe items or users, such as ``movies.csv``. Their columns are joined to a log's rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mdaf.data.preparing.raw_log import plural
from mdaf.data.preparing.spill import SpilledFrames
from mdaf.data.reading.cells import rounded
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.formats.by_ending import Spelling, table_file
from mdaf.data.reading.log_table import CellKinds
from mdaf.data.reading.rows import RAW, Rows
from mdaf.errors import DataError


@dataclass(frozen=True)
class SideTable:
    """A table with a row for each item, or for each user, in one file or several.

    ``owner``             ``item`` or ``user``.
    ``column``            the column with their ids.
    ``fields``            field -> the table's column.
    ``block_bytes``       how much text is read at once.
    ``max_bad_fraction``  a file with a larger share of bad rows is refused.
    ``cells``             which fields are numbers and lists.
    """

    owner: str
    paths: Sequence[Path]
    column: str
    fields: Mapping[str, str]
    spelling: Spelling
    block_bytes: int
    max_bad_fraction: float
    cells: CellKinds

    @property
    def key(self) -> str:
        """The config's key."""
        return f"data.{self.owner}_table"

    def of(self, ids: pl.Series) -> tuple[pl.DataFrame, Defects]:
        """The rows of these owners, the first of each, and the table's bad rows.

        The frame has the columns owner and the fields. Only these owners are kept in memory, so the table may be large.
        Raises DataError if a file has another format, if too many rows are bad, and if no row is of these owners.
        """
        columns = {self.owner: self.column, **self.fields}
        typed, optional = self.cells.types(columns), self.cells.numbers_of(columns)
        kinds = {f"no {self.owner}": pl.col(self.owner).is_null()}
        kinds |= {f"{self.owner} too large for a decimal": rounded(f"{RAW}{self.owner}")}
        parts, bad, matching, example = [], Defects(), 0, None
        for path in self.paths:
            file = table_file(path, tuple(dict.fromkeys(columns.values())), self._expected, self.spelling)
            file.check()
            rows, own = Rows(file, columns, typed, needed=(self.owner,), kinds=kinds, optional=optional), Defects()
            for lines in file.frames(self.block_bytes):
                frame, found = rows.usable(lines)
                own += found
                example = example or (frame[self.owner][0] if len(frame) else None)
                mine = frame.filter(pl.col(self.owner).is_in(ids.implode()))
                matching += len(mine)
                parts.append(mine.unique(self.owner, keep="first", maintain_order=True))
            own.refuse_if_too_many(str(path), self.max_bad_fraction)
            bad += own
        if not matching:
            raise DataError(
                f"{self.key}: {self._named} describes no {self.owner} of the log: its column {self.column!r} has such "
                f"as {example!r}, and the log has {plural(self.owner)} such as {ids.sort()[0]!r}"
            )
        values = pl.concat(parts).unique(self.owner, keep="first", maintain_order=True)
        told = {f"{kind} in {self._named}": count for kind, count in {**bad.dropped, **bad.corrected}.items()}
        told |= {f"row of {self._named} whose {self.owner} an earlier row has": matching - len(values)}
        examples = {f"{kind} in {self._named}": where for kind, where in bad.examples.items()}
        return values, Defects(incomplete=told, examples=examples)

    @property
    def _named(self) -> str:
        return self.paths[0].name if len(self.paths) == 1 else f"{len(self.paths)} files"

    @property
    def _expected(self) -> str:
        return f"the columns {', '.join((self.column, *self.fields.values()))} ({self.key})"


def described(rows: SpilledFrames, tables: Iterable[SideTable], folder: Path) -> tuple[SpilledFrames, Defects]:
    """The rows with the fields of side tables, in files below ``folder``, and what the tables lack.

    A row whose item or user is not in the table lacks these fields: they are missing, and the row is counted.
    """
    defects = Defects()
    for table in tables:
        ids = pl.Series(table.owner, [], dtype=pl.String)
        for frame in rows:
            ids = pl.concat([ids, frame[table.owner].unique()]).unique()
        values, found = table.of(ids)
        defects += found
        joined, absent, there = SpilledFrames(folder / table.owner), 0, pl.lit(True).alias("#there")
        for frame in rows:
            both = frame.join(values.with_columns(there), on=table.owner, how="left", maintain_order="left")
            absent += both["#there"].null_count()
            joined.append(both.drop("#there"))
        defects += Defects(incomplete={f"row whose {table.owner} is not in {table.key}": absent})
        rows = joined
    return rows, defects
