"""Collects the clean rows of a log while it is read: writes them to disk, and counts values for the vocabularies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from mdaf.data.preparing.layout import MOMENTS, Layout
from mdaf.data.preparing.spill import TRAINED, SpilledFrames
from mdaf.data.preparing.splits.rules import Splits
from mdaf.data.reading.local_time import FARTHEST
from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.data.store.vocabulary import ValueCounts, Vocabulary

_COMPACT_AT = 1 << 22


class OwnFields:
    """Fields that belong to an item or to a user, such as an item's category. They have one value for the whole log.

    If rows disagree, the value of the earliest row that has one is taken, and the smallest of several at the same time.
    It counts as known from that row on and not before, so that no later row tells anything about a sample.

    ``always``  the fields that are known from the beginning, because a table beside the log says them.
    """

    def __init__(self, owner: str, fields: Sequence[str], always: Collection[str] = ()) -> None:
        self.owner = owner
        self.fields = tuple(fields)
        self.always = frozenset(always) & set(fields)
        self._parts: list[pl.DataFrame] = []
        self._held = 0
        self._compacted = 0

    def add(self, frame: pl.DataFrame, trained: pl.Series) -> None:
        """Adds the owners, the fields and the times of some rows."""
        keys = (self.owner, *self.fields)
        part = frame.select(*keys, first="time", trained=trained.cast(pl.Int64), total=pl.lit(1, pl.Int64))
        self._parts.append(_summed(part, keys))
        self._held += len(self._parts[-1])
        if self._held > _COMPACT_AT and self._held > 2 * self._compacted:
            self._parts = [_summed(pl.concat(self._parts), keys)]
            self._held = self._compacted = len(self._parts[0])

    def settle(self) -> tuple[pl.DataFrame, dict[str, int]]:
        """The value of each field for each owner, and for each field how many rows disagree with it.

        The frame has one row for each owner, and the columns owner, the fields, first (the time of its first row),
        trained and total rows; and for each field, from when on its value is known, and in how many trained rows it is.
        """
        keys = (self.owner, *self.fields)
        every = _summed(pl.concat(self._parts), keys).sort(self.owner, "first", *self.fields, nulls_last=True)
        # Missing values are ignored: the value comes from the earliest row that has one.
        chosen = every.group_by(self.owner, maintain_order=True).agg(
            *(pl.col(field).drop_nulls().first() for field in self.fields),
            *(
                pl.col("first").filter(pl.col(field).is_not_null()).first().alias(_since(field))
                for field in self.fields
            ),
            *(pl.col("trained").filter(pl.col(field).is_not_null()).sum().alias(_in(field)) for field in self.fields),
            pl.col("first").first(),
            pl.col("trained", "total").sum(),
        )
        others = every.select(*keys, "total").join(
            chosen.select(self.owner, *(pl.col(field).alias(f"own {field}") for field in self.fields)), on=self.owner
        )
        changed = {
            field: int(others.filter(pl.col(field) != pl.col(f"own {field}"))["total"].sum()) for field in self.fields
        }
        return chosen, changed


def _since(field: str) -> str:
    return f"own {field}, since"


def _in(field: str) -> str:
    return f"own {field}, trained"


def _summed(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    summed = frame.lazy().group_by(keys).agg(pl.col("first").min(), pl.col("trained", "total").sum())
    return summed.collect(engine="streaming")  # twice as fast for many keys


def plural(name: str) -> str:
    """The plural of a field's name."""
    if name.endswith("s"):
        return name
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


@dataclass(frozen=True)
class OwnCodes:
    """The codes of a field that belongs to an owner, by the owner's code.

    ``since``  unix seconds from which on the value is known; None if each is known as long as its owner.
    """

    owner: str
    codes: np.ndarray
    since: np.ndarray | None

    def of(self, owners: np.ndarray, time: np.ndarray, before: bool = False) -> np.ndarray:
        """The codes for some owners at some times; what is not known yet is missing.

        ``before``  whether a value that becomes known at that very time is missing too.
        """
        codes = self.codes[owners]
        if self.since is None:
            return codes
        since = self.since[owners]
        return np.where(since < time if before else since <= time, codes, np.int32(UNKNOWN))


@dataclass(frozen=True)
class Encoding:
    """Converts raw values to codes.

    ``vocabularies``  table -> its vocabulary.
    ``own``           field of an owner -> its codes.
    ``changed``       by kind, how many rows disagree with the value of an item's or a user's field.
    """

    vocabularies: Mapping[str, Vocabulary]
    own: Mapping[str, OwnCodes]
    changed: Mapping[str, int]

    def codes(self, frame: pl.DataFrame, fields: Sequence[str], before: bool = False) -> dict[str, np.ndarray]:
        """The codes of some fields of raw rows, (rows,) int32 each. The fields of an owner come from ``own``.

        ``before``  as in ``OwnCodes.of``: for rows that are to be predicted.
        """
        found: dict[str, np.ndarray] = {}
        for name in fields:
            if name not in self.own:
                found[name] = self.vocabularies[name].encode(frame[name])
        for name in fields:
            if name in self.own:
                own = self.own[name]
                owners = (
                    found[own.owner] if own.owner in found else self.vocabularies[own.owner].encode(frame[own.owner])
                )
                found[name] = own.of(owners, frame["time"].to_numpy(), before)
        return {name: found[name] for name in fields}


class RawLog:
    """The events of a log, and its samples if it has impressions, in files below ``folder``.

    ``splits``  says which rows are of training, which alone count for the vocabularies, and which become samples.
    ``own``     fields that belong to an item or a user; events and samples need not have them.
    """

    def __init__(self, folder: Path, layout: Layout, splits: Splits, own: Sequence[OwnFields] = ()) -> None:
        self.layout = layout
        self.splits = splits
        self.events = SpilledFrames(folder / "events")
        self.samples = SpilledFrames(folder / "samples")
        self.first_time: int | None = None
        self.trained_rows = 0
        self._last_trained = 0
        self._counts = {table: ValueCounts() for table in (*layout.tables, layout.owner)}
        self._own = own
        self._settled = {name for own_fields in own for name in (own_fields.owner, *own_fields.fields)}

    @property
    def boundaries(self) -> tuple[int, int]:
        """The unix seconds at which validation and test begin; once all rows are added."""
        return self.splits.boundaries(self._last_trained)

    def longest_gap(self) -> int:
        """The longest time between an event and a training sample, in seconds."""
        assert self.first_time is not None
        return self.boundaries[0] - self.first_time

    def add_events(self, frame: pl.DataFrame) -> None:
        """Adds events with the columns owner, time and the layout's event fields. They need not be sorted by time."""
        if not len(frame):
            return
        trained = self.splits.trained(frame)
        for own in self._own:
            own.add(frame, trained)
        self._count(frame, trained, {self.layout.owner, *self.layout.events} - self._settled)
        self.events.append(frame if self.splits.by_time else frame.with_columns(trained.alias(TRAINED)))

    def add_samples(self, frame: pl.DataFrame) -> None:
        """Adds samples with the columns time, label, the layout's static fields, and split and probability if known."""
        frame = self.splits.sampled(frame)
        if not len(frame):
            return
        self._count(frame, frame["split"] == 0, {self.layout.owner, *self.layout.static})
        self.samples.append(frame)

    def count_moments(self, moments: pl.DataFrame, trained: np.ndarray) -> None:
        """Counts the hours and weekdays of samples that were made from events."""
        for name in self._moments:
            self._counts[name].add(moments[name], trained)

    @property
    def _moments(self) -> list[str]:
        return [name for name in MOMENTS if name in self._counts]

    def moment_vocabularies(self, min_count: Mapping[str, int]) -> dict[str, Vocabulary]:
        """The vocabularies of hours and weekdays, from ``count_moments``."""
        return {name: self._counts[name].build(min_count.get(name, 1)) for name in self._moments}

    def encode(self, min_count: Mapping[str, int]) -> Encoding:
        """Builds the codes of all counted values. ``min_count``: by table, default 1."""
        settled: dict[str, pl.DataFrame] = {}
        changed: dict[str, int] = {}
        for own in self._own:
            frame, disagreeing = own.settle()
            settled[own.owner] = frame
            changed |= {f"{own.owner} in two {plural(field)}": rows for field, rows in disagreeing.items() if rows}
            for name in (own.owner, *own.fields):
                if name in self._counts:
                    trained = pl.col("trained" if name == own.owner else _in(name)).alias("trained")
                    counts = frame.select(pl.col(name).alias("value"), trained, "total").drop_nulls("value")
                    self._counts[name].add_counts(counts.group_by("value").agg(pl.col("trained", "total").sum()))
        vocabularies = {table: counts.build(min_count.get(table, 1)) for table, counts in self._counts.items()}
        own_codes: dict[str, OwnCodes] = {}
        always = {field for own in self._own for field in own.always}
        for owner, frame in settled.items():
            owners = vocabularies[owner].encode(frame[owner])
            for name in frame.columns:
                if name in self._counts and name != owner:
                    codes = np.full(FIRST_ID + len(vocabularies[owner].values), UNKNOWN, dtype=np.int32)
                    codes[owners] = vocabularies[name].encode(frame[name])
                    since = None if name in always else self._since(frame, name, owners, len(codes))
                    own_codes[name] = OwnCodes(owner, codes, since)
        return Encoding(vocabularies, own_codes, changed)

    def _since(self, frame: pl.DataFrame, name: str, owners: np.ndarray, size: int) -> np.ndarray | None:
        """From when on each owner's value of a field is known, by the owner's code; None if from its first row on."""
        since = frame[_since(name)]
        late = bool((since > frame["first"]).any())
        if not late and not self.samples.rows:  # samples of the log's own may be earlier than all of its events
            return None
        by_owner = np.full(size, FARTHEST, dtype=np.int64)
        by_owner[owners] = since.fill_null(FARTHEST).to_numpy()
        return by_owner

    def _count(self, frame: pl.DataFrame, trained: pl.Series, columns: set[str]) -> None:
        first = int(frame["time"].min())  # type: ignore[arg-type]
        self.trained_rows += int(trained.sum())
        if not self.splits.by_time and trained.any():
            last = int(frame["time"].filter(trained).max())  # type: ignore[arg-type]
            self._last_trained = max(last, self._last_trained)
        self.first_time = first if self.first_time is None else min(first, self.first_time)
        for name in columns:
            if name in frame.columns:
                self._counts[name].add(frame[name], trained)
