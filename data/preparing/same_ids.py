"""Checks that two files write the ids of users, items and categories in the same way.

Otherwise they would not match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from mdaf.data.preparing.raw_log import plural
from mdaf.errors import DataError


def refuse_other_spellings(
    log: Iterable[pl.DataFrame], samples: Iterable[pl.DataFrame], names: Sequence[str], path: str
) -> None:
    """Raises DataError if the samples write an id in another way than the log, such as 0017 for 17.

    Also raises it if no user of the samples is in the log: all histories would be empty. ``path`` is the file of the
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
        if name == "user" and len(given[name]) and len(strangers) == len(given[name]):
            example = f"{strangers.sort()[0]!r}, while the log has such as {known[name].sort()[0]!r}"
            raise DataError(
                f"data.samples_path={path}: none of its {len(given[name]):,} {plural(name)} is in data.path, and every "
                f"history would be empty: it has such as {example}"
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
