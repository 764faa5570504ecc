"""Counts the rows of a log that are lost because their label is missing, and finds times in another unit."""

from __future__ import annotations

import polars as pl

from mdaf.data.preparing.layout import Periods
from mdaf.data.preparing.spill import SpilledFrames
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.rows import KIND
from mdaf.data.reading.times import UNITS, likelier_unit, out_of_range
from mdaf.data.store.event_store import SPLITS
from mdaf.errors import DataError

NO_LABEL, NO_NUMBER = "no label", "not a number"  # kinds of bad rows
_HOUR = 3600


class LostLabels:
    """Counts the rows without a label, by hour and split.

    A small share of a file may be a large share of one split, since the labels of the latest rows are often not known.
    """

    def __init__(self) -> None:
        self._counts: list[pl.DataFrame] = []

    def add(self, bad: pl.DataFrame) -> None:
        """Adds the bad rows of a block of lines."""
        lost = bad.filter(pl.col(KIND).is_in([NO_LABEL, NO_NUMBER]) & pl.col("time").is_not_null())
        lost = lost.filter(~out_of_range("time"))
        if len(lost):
            split = pl.col("split") if "split" in lost.columns else pl.lit(None, pl.Int8)
            hour = pl.col("time") // _HOUR * _HOUR
            self._counts.append(lost.select(time=hour, split=split).group_by("time", "split").len("lost"))

    def refuse_a_split_without(
        self, path: str, kept: SpilledFrames, periods: Periods | None, most: float, defects: Defects
    ) -> None:
        """Raises DataError if more than the share ``most`` of a split's rows are lost.

        ``periods``  give the split of a row by its time; None: the rows have a column for it.
        """
        if not self._counts:
            return
        split = (pl.col("split") if periods is None else periods.split_of(pl.col("time"))).cast(pl.Int8).alias("split")
        rows = pl.concat([frame.group_by(split).len("kept") for frame in kept]).group_by("split").agg(pl.sum("kept"))
        lost = pl.concat(self._counts).group_by(split).agg(pl.sum("lost"))
        for number, gone, left in lost.join(rows, on="split", how="left").drop_nulls("split").fill_null(0).iter_rows():
            share = gone / (gone + left)
            if share > most:
                raise DataError(
                    f"{path}: {share:.1%} of the rows of split {SPLITS[number]} have no label, data.max_bad_fraction "
                    f"allows {most:.1%} ({defects})"
                )


def unit_hint(bad: pl.DataFrame, time_format: str) -> str:
    """A hint for the error message if most bad rows have times in another format or unit; empty if they have not."""
    if 2 * (bad[KIND] == "not a time").sum() > len(bad):
        spelled = " since 1970" if time_format in UNITS else ""
        return (
            f"; data.time_format is {time_format}{spelled}: type the format of your times, such as "
            "'data.time_format=\"%Y-%m-%d %H:%M:%S\"' for 2024-01-31 23:59:59"
        )
    far = bad.filter(pl.col(KIND) == "time out of range")
    if not len(far) or time_format not in UNITS:
        return ""
    unit = likelier_unit(float(far["time"][0]) * UNITS[time_format], time_format)
    return f"; is it data.time_format={unit}?" if unit else ""
