"""Checks that two files write the ids of users, items and categories, and times, in the same way.

Otherwise they would not match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from mdaf.data.preparing.raw_log import plural
from mdaf.data.preparing.spill import SpilledFrames
from mdaf.data.preparing.splits.shares import span_of
from mdaf.data.reading.times import span
from mdaf.errors import DataError

_YEAR = 366 * 86_400
_LOST = {"user": "every history would be empty", "item": "no candidate would be one that anybody touched"}


def refuse_other_spellings(
    log: Iterable[pl.DataFrame], samples: Iterable[pl.DataFrame], names: Sequence[str], path: str
) -> None:
    """Raises DataError if the samples write an id in another way than the log, such as 0017 for 17.

    Also raises it if no user of the samples is in the log, or no item. ``path`` is the file of the
    samples.
    """
    known, given = _ids(log, names), _ids(samples, names)
    for name in names:
        strangers = given[name].filter(~given[name].is_in(known[name].implode()))
        there = pl.DataFrame({"log": known[name], "plain": _plain(known[name])})
        here = pl.DataFrame({"samples": strangers, "plain": _plain(strangers)})
        both = here.join(there, on="plain", how="inner").sort("samples")
        if len(both):
            raise DataError(
                f"data.samples_path={path} writes {len(both):,} {plural(name)} otherwise than data.path: "
                f"{both['samples'][0]!r} is {both['log'][0]!r} there; write both alike"
            )
        if name in _LOST and len(given[name]) and len(strangers) == len(given[name]):
            example = f"{strangers.sort()[0]!r}, while the log has such as {known[name].sort()[0]!r}"
            raise DataError(
                f"data.samples_path={path}: none of its {len(given[name]):,} {plural(name)} is in data.path, and "
                f"{_LOST[name]}: it has such as {example}"
            )


def refuse_other_times(log: SpilledFrames, samples: SpilledFrames, path: str, utc_offset_hours: float) -> None:
    """Raises DataError if no sample can belong to the log: all are before its first event, or long after its last.

    ``path`` is the file of the samples. Times in another unit look like that.
    """
    (first, last), (low, high) = span_of(log), span_of(samples)
    if high > first and low < last + max(_YEAR, last - first):
        return
    where = "before its first event" if high <= first else "long after its last event"
    raise DataError(
        f"data.samples_path={path}: all of its rows are {where}, and data.path says nothing about them: the rows reach "
        f"{span(low, high, utc_offset_hours)} (such as {low}), and the log {span(first, last, utc_offset_hours)} (such "
        f"as {first}), in unix seconds; write the times of both in the unit or the pattern of data.time_format"
    )


def _ids(frames: Iterable[pl.DataFrame], names: Sequence[str]) -> dict[str, pl.Series]:
    """The distinct ids of each column."""
    found = {name: pl.Series([], dtype=pl.String) for name in names}
    for frame in frames:
        for name, ids in found.items():
            found[name] = pl.concat([ids, frame[name].drop_nulls().unique()]).unique()
    return found


def _plain(ids: pl.Series) -> pl.Series:
    """Ids without what programs add to numbers or remove from them, such as leading zeros."""
    return ids.str.replace(r"^[+]?0*([0-9]+)$", "$1")
