"""Raw values to codes: the ones that training knows first, the others behind them but still told apart.

A code below ``rows`` is a row of an embedding table. A code from ``rows`` on names a raw value that has no row, since
training has not seen it often enough: a model gets ``UNKNOWN`` for it, but comparing codes still says whether an event
and a candidate are the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from data.errors import DataError
from data.schema import FIRST_ID, UNKNOWN


@dataclass(frozen=True)
class Vocabulary:
    """``values[i]`` is the raw value of code ``FIRST_ID + i``; codes below ``rows`` have a row in the table."""

    values: pl.Series
    rows: int

    @classmethod
    def build(cls, parts: Sequence[tuple[pl.Series, np.ndarray]], min_count: int = 1) -> Vocabulary:
        """From every raw value that occurs, in codes by descending count.

        ``parts``      (values, counted): ``counted`` marks the occurrences in training, the only ones that count.
        ``min_count``  counted occurrences that give a value a row; at least 1, so what training lacks never has one.
        """
        frames = [pl.DataFrame({"value": values, "count": pl.Series(counted)}) for values, counted in parts]
        counts = (
            pl.concat(frame.group_by("value").agg(pl.col("count").sum().cast(pl.Int64)) for frame in frames)
            .filter(pl.col("value").is_not_null())
            .group_by("value")
            .agg(pl.col("count").sum())
            .sort("count", "value", descending=[True, False])
        )
        return cls(counts["value"], FIRST_ID + int((counts["count"] >= max(1, min_count)).sum()))

    def encode(self, raw: pl.Series) -> np.ndarray:
        """Codes of raw values, int32; a missing value is ``UNKNOWN``."""
        codes = pl.Series(np.arange(FIRST_ID, FIRST_ID + len(self.values), dtype=np.int32))
        found = raw.replace_strict(self.values, codes, default=UNKNOWN, return_dtype=pl.Int32)
        return found.fill_null(UNKNOWN).to_numpy()

    def to_numpy(self) -> np.ndarray:
        """The raw values as an array that loads without pickle."""
        if self.values.dtype.is_integer():
            return self.values.to_numpy()
        return np.asarray(self.values.cast(pl.String).to_list(), dtype=np.str_)


def check_min_count(min_count: Mapping[str, int], tables: Sequence[str]) -> None:
    """DataError for a count below 1 or of a table that does not exist."""
    for table, count in min_count.items():
        if table not in tables:
            raise DataError(f"data.min_count.{table}: no such table; tables are {', '.join(sorted(tables))}")
        if count < 1:
            raise DataError(f"data.min_count.{table} is {count}; expected a whole number of at least 1")
