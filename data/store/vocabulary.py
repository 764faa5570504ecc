"""Vocabularies: from raw values to codes.

A code below ``rows`` is a row of an embedding table. A code of ``rows`` or more is a raw value without a row, because
it is too rare in training: a model gets ``UNKNOWN`` for it. Such values still have different codes, so that an event
and a candidate can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.errors import DataError

_WIDEST_TABLE = 1 << 26  # raw numbers in a smaller range are looked up in an array
_COMPACT_AT = 1 << 22  # when there are more rows of partial counts, they are summed


@dataclass(frozen=True)
class Vocabulary:
    """``values[i]`` is the raw value of code ``FIRST_ID + i``; codes below ``rows`` have a row in the table.

    ``occurrences``  how often each value occurs in the whole log.
    ``trained``      how often each value occurs in training.
    """

    values: pl.Series
    rows: int
    occurrences: np.ndarray
    trained: np.ndarray

    def encode(self, raw: pl.Series) -> np.ndarray:
        """Codes of raw values, int32; ``UNKNOWN`` for a missing value and for one that is not in the vocabulary."""
        if self._dense is not None and raw.dtype.is_integer():
            low, table = self._dense
            index = raw.cast(pl.Int64).fill_null(low - 1).to_numpy() - low
            known = (index >= 0) & (index < len(table))
            return np.where(known, table[np.where(known, index, 0)], np.int32(UNKNOWN))
        codes = pl.Series(np.arange(FIRST_ID, FIRST_ID + len(self.values), dtype=np.int32))
        found = raw.cast(self.values.dtype).replace_strict(self.values, codes, default=UNKNOWN, return_dtype=pl.Int32)
        return found.fill_null(UNKNOWN).to_numpy()

    @cached_property
    def _dense(self) -> tuple[int, np.ndarray] | None:
        """The lowest raw number and an array of codes from it on; None if their range is too large for an array."""
        if not self.values.dtype.is_integer() or not len(self.values):
            return None
        raw = self.values.cast(pl.Int64).to_numpy()
        low = int(raw.min())
        if int(raw.max()) - low >= _WIDEST_TABLE:
            return None
        table = np.full(int(raw.max()) - low + 1, UNKNOWN, dtype=np.int32)
        table[raw - low] = np.arange(FIRST_ID, FIRST_ID + len(raw), dtype=np.int32)
        return low, table


class ValueCounts:
    """Counts how often each raw value of a table occurs, one part of the log after the other."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []
        self._held = 0

    def add(self, values: pl.Series, trained: np.ndarray | pl.Series | bool) -> None:
        """Counts values; ``trained`` says which of them are in the training period."""
        frame = pl.DataFrame({"value": values}).with_columns(trained=pl.lit(trained) if _flag(trained) else trained)
        self.add_counts(
            frame.lazy()
            .filter(pl.col("value").is_not_null())
            .group_by("value")
            .agg(trained=pl.col("trained").sum().cast(pl.Int64), total=pl.len().cast(pl.Int64))
            .collect(engine="streaming")  # twice as fast for many values
        )

    def add_counts(self, counts: pl.DataFrame) -> None:
        """Adds counts that are made already, with the columns value, trained, total."""
        self._parts.append(counts)
        self._held += len(counts)
        if self._held > _COMPACT_AT and self._held > 2 * len(self._parts[0]):
            self._parts = [self._sum()]
            self._held = len(self._parts[0])

    def build(self, min_count: int = 1) -> Vocabulary:
        """The vocabulary, with codes by descending count in training.

        ``min_count``  a value with fewer occurrences in training has no row; at least 1.
        """
        if not self._parts:
            return Vocabulary(pl.Series([], dtype=pl.Int64), FIRST_ID, *np.zeros((2, 0), dtype=np.int64))
        counts = self._sum().sort("trained", "value", descending=[True, False])
        rows = FIRST_ID + int((counts["trained"] >= max(1, min_count)).sum())
        return Vocabulary(counts["value"], rows, counts["total"].to_numpy(), counts["trained"].to_numpy())

    def _sum(self) -> pl.DataFrame:
        counts = pl.concat(self._parts).lazy().group_by("value").agg(pl.col("trained", "total").sum())
        return counts.collect(engine="streaming")


def _flag(trained: np.ndarray | pl.Series | bool) -> bool:
    return isinstance(trained, bool)


def check_min_count(min_count: Mapping[str, int], tables: Sequence[str]) -> None:
    """DataError for a count below 1 or of a table that does not exist."""
    for table, count in min_count.items():
        if table not in tables:
            raise DataError(f"data.min_count.{table}: no such table; tables are {', '.join(sorted(tables))}")
        if count < 1:
            raise DataError(f"data.min_count.{table} is {count}; expected a whole number of at least 1")
