"""Makes samples from a log without impressions, for one of two tasks. Sources with such logs call ``write_next_click``.

``next_click``  Every view with an earlier event is a positive, and negatives are drawn for it: see
                ``mdaf.data.preparing.negatives``.
``buy``         Every view with an earlier event is a sample. It is a positive if its user buys the item later on the
                same local day and in the same split.

Rows that equal an earlier one in all fields are dropped before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from mdaf.data.preparing.assembly import Assembly, Samples, SortedEvents
from mdaf.data.preparing.impressions import nothing_to_train_on
from mdaf.data.preparing.layout import MOMENTS, moments
from mdaf.data.preparing.negatives import NO_ITEM, draw_from_histories, draw_negatives, shares_of
from mdaf.data.preparing.raw_log import Encoding, OwnCodes, RawLog
from mdaf.data.preparing.source import Contents
from mdaf.data.preparing.splits.rules import Splits
from mdaf.data.preparing.vocabularies import write_vocabularies
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.local_time import local_days
from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.data.store.event_store import SPLITS, USER_TABLE
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.streams import stream_seed
from mdaf.terminal.printable import in_a_line
from mdaf.terminal.progress import Progress, between

TASKS = ("next_click", "buy")
PROTOCOL = 2  # part of a store's identity; protocol 1 excluded all items of the user from the negatives
_LEAST = 100
_CHUNK = 1 << 18  # views whose samples are made at once; it bounds the memory and does not affect the result


@dataclass(frozen=True)
class Protocol:
    """How samples are made from a log.

    ``negatives``       negatives for each positive of ``next_click``.
    ``negatives_from``  where they are drawn from, one of ``SOURCES``.
    ``view``            the behaviour of events that show a candidate; None: every event.
    ``purchase``        the behaviour that the task ``buy`` predicts.
    ``min_count``       table -> how many events in training an id needs to have a row; default 1.
    """

    task: str
    negatives: int
    negatives_from: str
    view: str | None
    purchase: str | None
    min_count: Mapping[str, int]
    seed: int


def write_next_click(
    writer: StoreWriter,
    log: RawLog,
    folder: Path,
    protocol: Protocol,
    memory_gb: float,
    defects: Defects,
    progress: Progress,
) -> Contents:
    """Writes the store of a clean log without samples, and makes its samples by the protocol.

    All static fields but hour and weekday must belong to items or users. ``folder`` is for temporary files. Raises
    DataError if there is nothing to train on.
    """
    progress("building vocabularies", 0.0)
    if not log.trained_rows:
        raise nothing_to_train_on("event", log)
    encoding = log.encode(protocol.min_count)
    assembly = Assembly(log, encoding, folder, memory_gb, unique=True)
    pools = _Pools(folder / "pools", log.splits)
    placed = log.splits.of_users(encoding.vocabularies[USER_TABLE].values)
    bounds = [0]
    for events, _ in assembly.write_events(writer, between(progress, 0.0, 0.6)):
        time, item = events.time, events.codes["item"]
        split, viewed = log.splits.of_events(events, _behaviour(encoding, protocol.view, events.codes), placed)
        pools.add(time[viewed], split[viewed], item[viewed])
        position = np.flatnonzero(viewed & (events.ends(events.user, time) > events.starts(events.user)))
        moments_of = pl.DataFrame({"time": time[position]}).select(moments(log.splits.utc_offset_hours))
        log.count_moments(moments_of, split[position] == 0)
        bounds.append(int(events.offsets[-1]))
    moments_known = log.moment_vocabularies(protocol.min_count)
    encoding = replace(encoding, vocabularies={**encoding.vocabularies, **moments_known})
    fitted = write_vocabularies(writer, log.layout, encoding.vocabularies, protocol.min_count)

    sampler = _Sampler(log, encoding, protocol, pools, placed)
    for number, (start, stop) in enumerate(pairwise(bounds)):
        progress("making samples", 0.6 + 0.4 * number / (len(bounds) - 1))
        sampler.write(_written_events(writer, log, start, stop), writer)
    lacking = {"negatives that could not be drawn": sampler.undrawn}
    defects += Defects(dropped={"repeated row": assembly.repeated}, corrected=encoding.changed, incomplete=lacking)
    schema = log.layout.schema(encoding.vocabularies, log.longest_gap(), fitted)
    cells = {table: found.rows for table, found in fitted.items()}
    grouped = protocol.task == "next_click"
    return Contents(schema, *log.boundaries, defects, log.splits.promise, grouped, cells)


class _Pools:
    """The items from which negatives are drawn: a file for each local day and split, with an entry for each view.

    If splits are not by time, a day may hold few rows of a split. Then the days before are part of its pool, until it
    has ``_LEAST`` views of the split.
    """

    def __init__(self, folder: Path, splits: Splits) -> None:
        folder.mkdir()
        self._folder = folder
        self._splits = splits
        self._numbers: set[int] = set()

    def numbers(self, time: np.ndarray, split: np.ndarray) -> np.ndarray:
        """The number of the pool for each time and split, int64. A day that two splits share has two pools."""
        return local_days(time, self._splits.utc_offset_hours) * len(SPLITS) + split

    def are_known(self, since: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Whether what is known from ``since`` on is known at the end of the pool of ``time``."""
        phase = self._splits.phase
        return self.numbers(since, phase(since)) <= self.numbers(time, phase(time))

    def add(self, time: np.ndarray, split: np.ndarray, item: np.ndarray) -> None:
        numbers = self.numbers(time, split)
        for number in np.unique(numbers).tolist():
            self._numbers.add(number)
            with (self._folder / str(number)).open("ab") as file:
                item[numbers == number].tofile(file)

    def of(self, number: int) -> np.ndarray:
        parts = [self._day(number)]
        if not self._splits.by_time:
            earlier = sorted(other for other in self._numbers if other < number and (number - other) % len(SPLITS) == 0)
            while sum(map(len, parts)) < _LEAST and earlier:
                parts.append(self._day(earlier.pop()))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _day(self, number: int) -> np.ndarray:
        return np.memmap(self._folder / str(number), dtype=np.int32, mode="r")


def _behaviour(encoding: Encoding, behaviour: str | None, codes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which events have a behaviour, bool (events,); all if it is None."""
    if behaviour is None:
        return np.ones(len(codes["item"]), dtype=bool)
    known = encoding.vocabularies["behaviour"]
    code = known.encode(pl.Series([behaviour]))[0]
    if code == UNKNOWN:
        others = ", ".join(in_a_line(name) for name in known.values[:9].to_list())
        raise DataError(f"no event of the log has the behaviour {behaviour!r}; behaviours are {others or 'none'}")
    return codes["behaviour"] == code


def _written_events(writer: StoreWriter, log: RawLog, start: int, stop: int) -> SortedEvents:
    """The events at the positions ``start`` to ``stop`` of the store that is being written: those of whole users."""
    offsets = writer.read("user_offsets")
    first, last = np.searchsorted(offsets, [start, stop], side="left")
    own = offsets[first : last + 1]
    return SortedEvents(
        user=np.repeat(np.arange(first, last, dtype=np.int32), np.diff(own)),
        time=writer.read("events.time", start, stop),
        codes={name: writer.read(f"events.{name}", start, stop) for name in log.layout.events},
        first_user=int(first),
        offsets=own,
        training_ends=None if log.splits.by_time else writer.read("training_ends", int(first), int(last)),
    )


class _Sampler:
    """Makes the samples of a range of users, in the order of their events."""

    def __init__(
        self, log: RawLog, encoding: Encoding, protocol: Protocol, pools: _Pools, placed: np.ndarray | None
    ) -> None:
        self._static = log.layout.static
        self._splits = log.splits
        self._encoding = encoding
        self._protocol = protocol
        self._pools = pools
        self._placed = placed
        self._items = FIRST_ID + len(encoding.vocabularies["item"].values)
        self.undrawn = 0  # negatives of positives that were the only item of their day or history

    def write(self, events: SortedEvents, writer: StoreWriter) -> None:
        """Appends the samples of these events."""
        ends = events.ends(events.user, events.time)
        shown = _behaviour(self._encoding, self._protocol.view, events.codes)
        split, viewed = self._splits.of_events(events, shown, self._placed)
        rows = np.flatnonzero(viewed & (ends > events.starts(events.user)))
        if self._protocol.task == "buy":
            bought = self._bought_later(events, split)
            for part in _in_chunks(rows):
                every = np.arange(len(part))
                items = events.codes["item"][part]
                self._samples(events, part, every, items, bought[part], split[part]).write(writer, ends[part])
            return
        for part in _in_chunks(rows):
            drawn = self._negatives(events, part, split[part], ends[part])
            items = np.column_stack([events.codes["item"][part], drawn]).reshape(-1)
            kept = items != NO_ITEM
            self.undrawn += int((~kept).sum())
            label = (np.arange(len(items)) % (1 + self._protocol.negatives) == 0)[kept]
            which = np.repeat(np.arange(len(part)), 1 + self._protocol.negatives)[kept]
            self._samples(events, part, which, items[kept], label, split[part]).write(writer, ends[part][which])

    def _negatives(self, events: SortedEvents, rows: np.ndarray, split: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The negative items for the positives at ``rows``, (rows, negatives), ``NO_ITEM`` where none is left to draw.

        ``split``, ``ends``  the split of each positive, and the end of its history, (rows,) each.
        """
        of_day, of_history = shares_of(self._protocol.negatives_from, self._protocol.negatives)
        number = events.offsets[0] + rows
        drawn = [np.empty((len(rows), 0), dtype=np.int32)]
        if of_day:
            drawn.append(self._of_day(events, rows, split, of_day))
        if of_history:
            stream = stream_seed(self._protocol.seed, "negatives of the history")
            item, first = events.codes["item"], events.offsets[0]
            starts = events.starts(events.user[rows]) - first
            drawn.append(draw_from_histories(stream, item, starts, ends - first, item[rows], number, of_history))
        return np.concatenate(drawn, axis=1)

    def _of_day(self, events: SortedEvents, rows: np.ndarray, split: np.ndarray, count: int) -> np.ndarray:
        pools = self._pools.numbers(events.time[rows], split)
        drawn = np.empty((len(rows), count), dtype=np.int32)
        for pool in np.unique(pools).tolist():
            mine = pools == pool
            stream = stream_seed(self._protocol.seed, "negatives", pool // len(SPLITS))
            item, number = events.codes["item"][rows[mine]], events.offsets[0] + rows[mine]
            drawn[mine] = draw_negatives(stream, self._pools.of(pool), item, number, count)
        return drawn

    def _bought_later(self, events: SortedEvents, split: np.ndarray) -> np.ndarray:
        """Whether each event's user buys its item at the same time or later, on the same day and in the same split."""
        time = events.time
        days = local_days(time, self._splits.utc_offset_hours)
        days = days - days.min(initial=0)
        key = (events.user - events.first_user).astype(np.int64) * self._items + events.codes["item"]
        key = (key * (int(days.max(initial=0)) + 1) + days) * len(SPLITS) + split
        buys = np.flatnonzero(_behaviour(self._encoding, self._protocol.purchase, events.codes))
        if not len(buys):
            return np.zeros(len(time), dtype=bool)
        buys = buys[np.lexsort((time[buys], key[buys]))]
        last = buys[np.append(np.diff(key[buys]) > 0, True)]  # the last purchase of each key
        position = np.minimum(np.searchsorted(key[last], key), len(last) - 1)
        return (key[last][position] == key) & (time[last][position] >= time)

    def _samples(
        self,
        events: SortedEvents,
        rows: np.ndarray,
        which: np.ndarray,
        item: np.ndarray,
        label: np.ndarray,
        split: np.ndarray,
    ) -> Samples:
        """The samples with the candidates ``item`` (samples,).

        A sample has the user and the time of the event ``rows[which]``, and the split ``split[which]``.
        """
        user, time = events.user[rows], events.time[rows]
        frame = pl.DataFrame({"time": time}).select(moments(self._splits.utc_offset_hours))
        codes = {USER_TABLE: (user + np.int32(FIRST_ID))[which], "item": item}
        for name in self._static:
            if name in MOMENTS:
                codes[name] = self._encoding.vocabularies[name].encode(frame[name])[which]
            elif name not in codes:
                codes[name] = self._own_codes(self._encoding.own[name], codes, time[which])
        static = {name: codes[name] for name in self._static}
        return Samples(user=user[which], time=time[which], label=label, split=split[which], static=static)

    def _own_codes(self, own: OwnCodes, codes: Mapping[str, np.ndarray], time: np.ndarray) -> np.ndarray:
        """The codes of an item's or a user's field at some times.

        Of drawn items everything is known that is known at the end of the day, as of the positive beside them: if what
        is known were that of the very second, negatives that nobody has viewed yet would lack it, and positives not.
        """
        owners = codes[own.owner]
        if own.since is None or own.owner == USER_TABLE or self._protocol.task == "buy":
            return own.of(owners, time)
        known = self._pools.are_known(own.since[owners], time)
        return np.where(known, own.codes[owners], np.int32(UNKNOWN))


def _in_chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))
