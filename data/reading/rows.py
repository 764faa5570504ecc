"""Converts the lines of a file to typed rows, and counts bad rows by kind, with the first row of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from mdaf.data.reading.cells import said
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.formats.by_ending import TableFile
from mdaf.data.reading.formats.delimited import BAD_QUOTES, MORE, NOT_JSON, NOT_UTF8, REPLACEMENT, Lines, column_of

KIND = "<kind>"  # a column with the kind of a row's defect; null for a good row
RAW = "<raw> "  # a column with this prefix has the text of the file
_LONGEST = 40  # the most characters of a value in a message


@dataclass(frozen=True)
class Rows:
    """How the lines of a file become rows.

    ``columns``   field -> the file's column.
    ``typed``     field -> an expression that converts the column of text of that name; other fields stay text.
    ``needed``    fields that must not be empty.
    ``numbers``   needed fields that are numbers. A row is dropped if one of them is not.
    ``kinds``     further kinds of defects -> an expression of typed columns. Messages show the first column in it.
    ``optional``  fields that become missing if they cannot be converted. Such rows are kept, and counted as corrected.
    ``numbered``  further fields, which hold the number of the row, int64.
    """

    file: TableFile
    columns: Mapping[str, str]
    typed: Mapping[str, pl.Expr]
    needed: Sequence[str]
    numbers: Sequence[str] = ()
    kinds: Mapping[str, pl.Expr] = field(default_factory=dict)
    optional: Sequence[str] = ()
    numbered: Sequence[str] = ()

    def usable(self, lines: Lines) -> tuple[pl.DataFrame, Defects]:
        """The rows without a defect, and the numbers of the others."""
        return self.told_apart(lines)[:2]

    def told_apart(self, lines: Lines, before: int = 0) -> tuple[pl.DataFrame, Defects, pl.DataFrame]:
        """As ``usable``, and also the bad rows, with the column ``KIND``.

        ``before``  the rows of earlier files, for the numbers of rows.
        """
        named = lines.frame.select(*(column_of(column).alias(name) for name, column in self.columns.items()), MORE)
        rows = named.select(*(self.typed.get(name, pl.col(name)) for name in self.columns))
        if self.numbered:
            number = pl.int_range(pl.len(), dtype=pl.Int64) + (before + lines.first)
            rows = rows.with_columns(number.alias(name) for name in self.numbered)
        raw = named.select(MORE, pl.exclude(MORE).name.prefix(RAW))
        both = rows.hstack(raw).with_columns(self._line_defect().alias(KIND))
        for kind, applies in self.kinds.items():
            found = pl.when(pl.col(KIND).is_null() & applies).then(pl.lit(kind)).otherwise(pl.col(KIND))
            both = both.with_columns(found.alias(KIND))
        good = both[KIND].is_null()
        corrected, examples = self._corrected(both, good, lines.first)
        if good.all():
            return rows, Defects(len(rows), corrected=corrected, examples=examples), both.clear()
        bad = both.with_row_index("<row>").filter(~good)
        firsts = bad.unique(KIND, keep="first", maintain_order=True)
        examples |= {row[KIND]: self._example(row, lines.first) for row in firsts.iter_rows(named=True)}
        dropped = dict(bad[KIND].value_counts(sort=True).iter_rows())
        return (
            rows.filter(good),
            Defects(len(rows), dropped, corrected, examples=examples),
            bad.select(*rows.columns, KIND),
        )

    def _line_defect(self) -> pl.Expr:
        """The kind of a line's first defect; null for a good line."""
        texts = self.needed or list(self.columns)
        empty = [pl.col(f"{RAW}{name}").is_null() for name in texts]
        first = pl.col(f"{RAW}{texts[0]}").fill_null("").str.strip_chars() == ""
        more = pl.col(MORE)
        lacking = pl.any_horizontal(pl.lit(False), *(pl.col(f"{RAW}{name}").is_null() for name in self.needed))
        return (
            pl.when(pl.all_horizontal(first, *empty[1:]) & more.is_null())
            .then(pl.lit("blank line"))
            .when(more.is_in([NOT_UTF8, BAD_QUOTES, NOT_JSON]))
            .then(more)
            .when(more.is_not_null())
            .then(pl.lit("too many fields"))
            .when(lacking)
            .then(pl.lit("cut line"))
            .when(pl.any_horizontal(pl.lit(False), *(pl.col(name).is_null() for name in self.numbers)))
            .then(pl.lit("not a number"))
        )

    def _corrected(self, both: pl.DataFrame, good: pl.Series, first: int) -> tuple[dict[str, int], dict[str, str]]:
        """How many good rows lack an optional field although something stands there, and where the first one is."""
        corrected, examples = {}, {}
        for name in self.optional:
            wrong = good & both.select(pl.col(name).is_null() & said(f"{RAW}{name}")).to_series()
            if (place := wrong.arg_max()) is not None and wrong[place]:
                kind = f"{name} not a number"
                corrected[kind] = int(wrong.sum())
                examples[kind] = f"{self._place(first + place, name)}: {_shown(both[f'{RAW}{name}'][place])}"
        return corrected, examples

    def _place(self, number: int, name: str) -> str:
        return f"{self.file.path.name}, {self.file.row} {number:,}, column {self.columns[name]!r}"

    def _example(self, row: Mapping[str, object], first: int) -> str:
        """The place of a bad row, and the value that makes it bad."""
        where = f"{self.file.path.name}, {self.file.row} {first + row['<row>']:,}"  # type: ignore[operator]
        name = self._culprit(row)
        if name is None:
            return (
                where
                if row[MORE] in (None, BAD_QUOTES, NOT_JSON)
                else f"{where}: {_shown(row[MORE])} behind its last field"
            )
        value = row[f"{RAW}{name}"]
        return f"{self._place(first + row['<row>'], name)}: {'empty' if value is None else _shown(value)}"  # type: ignore[operator]

    def _culprit(self, row: Mapping[str, object]) -> str | None:
        """The field that makes a row bad; None if it is not a single field."""
        kind = row[KIND]
        if kind == "cut line":
            return next(name for name in self.needed if row[f"{RAW}{name}"] is None)
        if kind == "not a number" and kind not in self.kinds:
            return next(name for name in self.numbers if row[name] is None)
        if kind == NOT_UTF8:
            return next((name for name in self.columns if REPLACEMENT in str(row[f"{RAW}{name}"])), None)
        names = self.kinds[str(kind)].meta.root_names() if kind in self.kinds else [None]
        return names[0] and names[0].removeprefix(RAW)


def described(rows: Rows, key: str, max_bad_fraction: float, size: int) -> tuple[pl.DataFrame, Defects]:
    """The rows of a small file that describes items or users, only the first of each key, and its defects.

    Raises DataError if too many rows are bad. The defects do not count the rows read, since these are not rows of a
    log.
    """
    frames, defects = [], Defects()
    for lines in rows.file.frames(size):
        frame, found = rows.usable(lines)
        frames.append(frame)
        defects += found
    defects.refuse_if_too_many(str(rows.file.path), max_bad_fraction)
    every = pl.concat(frames)
    unique = every.unique(key, keep="first", maintain_order=True)
    defects += Defects(dropped={f"{key} described twice": len(every) - len(unique)})
    defects.refuse_if_too_many(str(rows.file.path), max_bad_fraction)
    return unique, replace(defects, rows=0)


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
