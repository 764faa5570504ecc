"""Makes samples from a log without impressions, for one of two tasks. Sources with such logs call ``write_next_click``.

``next_click``  Every view with an earlier event is a positive. Negatives are items drawn by their popularity on the
                day of the sample and in its split, the positive alone excluded. If they were drawn by popularity in
                the training period, all items that training has never seen would be positives, and a model could
                score well by recognizing that alone.
``buy``         Every view with an earlier event is a sample. It is a positive if its user buys the item later on the
                same local day and in the same split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from mdaf.data.preparing.assembly import Assembly, Samples, SortedEvents
from mdaf.data.preparing.layout import MOMENTS, Periods
from mdaf.data.preparing.negatives import NO_ITEM, draw_negatives
from mdaf.data.preparing.raw_log import Encoding, OwnCodes, RawLog
from mdaf.data.preparing.source import Contents
from mdaf.data.preparing.vocabularies import write_vocabularies
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.local_time import local_days
from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.data.store.event_store import SPLITS, USER_TABLE
from mdaf.data.store.held_out import held_out
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.streams import stream_seed
from mdaf.terminal.printable import in_a_line
from mdaf.terminal.progress import Progress, between

TASKS = ("next_click", "buy")
PROTOCOL = 2  # part of a store's identity; protocol 1 excluded all items of the user from the negatives
_CHUNK = 1 << 18  # views whose samples are made at once; it bounds the memory and does not affect the result


@dataclass(frozen=True)
class Protocol:
    """How samples are made from a log.

    ``negatives``  negatives for each positive of ``next_click``.
    ``view``       the behaviour of events that show a candidate; None: every event.
    ``purchase``   the behaviour that the task ``buy`` predicts.
    ``min_count``  table -> how many events in training an id needs to have a row; default 1.
    """

    task: str
    periods: Periods
    negatives: int
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

    All static fields but hour and weekday must belong to items or users. Rows that equal an earlier one in all fields
    are dropped and counted. ``folder`` is for temporary files. Raises DataError if no event is before the validation
    period.
    """
    progress("building vocabularies", 0.0)
    if not log.trained_rows:
        keys = "data.validation_start, data.held_out_users" if log.held_out_users else "data.validation_start"
        raise DataError(f"no event lies before the validation period: nothing to train on ({keys})")
    encoding = log.encode(protocol.min_count)
    assembly = Assembly(log, encoding, protocol.periods, folder, memory_gb, unique=True)
    pools = _Pools(folder / "pools", protocol.periods)
    users = encoding.vocabularies[USER_TABLE].values
    held_users = held_out(users, log.held_out_users) if log.held_out_users else None
    bounds = [0]
    for events, _ in assembly.write_events(writer, between(progress, 0.0, 0.6)):
        time, item = events.time, events.codes["item"]
        viewed = _candidates(events, encoding, protocol, held_users)
        pools.add(time[viewed], item[viewed])
        position = np.flatnonzero(viewed & (events.ends(events.user, time) > events.starts(events.user)))
        trained = time[position] < protocol.periods.validation
        moments = pl.DataFrame({"time": time[position]}).select(protocol.periods.moments())
        log.count_moments(moments, trained)
        bounds.append(int(events.offsets[-1]))
    moments_known = log.moment_vocabularies(protocol.min_count)
    encoding = replace(encoding, vocabularies={**encoding.vocabularies, **moments_known})
    fitted = write_vocabularies(writer, log.layout, encoding.vocabularies, protocol.min_count)

    sampler = _Sampler(log.layout.static, encoding, protocol, pools, held_users)
    for number, (start, stop) in enumerate(pairwise(bounds)):
        progress("making samples", 0.6 + 0.4 * number / (len(bounds) - 1))
        sampler.write(_written_events(writer, log.layout.events, start, stop), writer)
    lacking = {"negatives that could not be drawn": sampler.undrawn}
    defects += Defects(dropped={"repeated row": assembly.repeated}, corrected=encoding.changed, incomplete=lacking)
    assert log.first_time is not None
    schema = log.layout.schema(encoding.vocabularies, protocol.periods.validation - log.first_time, fitted)
    cells = {table: found.rows for table, found in fitted.items()}
    grouped = protocol.task == "next_click"
    return Contents(schema, protocol.periods.validation, protocol.periods.test, defects, grouped, cells)


class _Pools:
    """The items from which negatives are drawn: a file for each local day and split, with an entry for each view."""

    def __init__(self, folder: Path, periods: Periods) -> None:
        folder.mkdir()
        self._folder = folder
        self._periods = periods

    def numbers(self, time: np.ndarray) -> np.ndarray:
        """The number of the pool for each time, int64. A day that two splits share has two pools."""
        days = local_days(time, self._periods.utc_offset_hours)
        return days * len(SPLITS) + self._periods.splits_of(time)

    def add(self, time: np.ndarray, item: np.ndarray) -> None:
        numbers = self.numbers(time)
        for number in np.unique(numbers):
            with (self._folder / str(number)).open("ab") as file:
                item[numbers == number].tofile(file)

    def of(self, number: int) -> np.ndarray:
        return np.memmap(self._folder / str(number), dtype=np.int32, mode="r")


def _candidates(
    events: SortedEvents, encoding: Encoding, protocol: Protocol, held_users: np.ndarray | None
) -> np.ndarray:
    """Which events show a candidate, bool (events,).

    ``held_users``  which users are held out, bool (users,): these have candidates only in the test, and all others only
                    before it. None: a user has candidates in every split.
    """
    viewed = _behaviour(encoding, protocol.view, events.codes)
    if held_users is not None:
        viewed = viewed & (held_users[events.user] == (protocol.periods.splits_of(events.time) == SPLITS.index("test")))
    return viewed


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


def _written_events(writer: StoreWriter, fields: Sequence[str], start: int, stop: int) -> SortedEvents:
    """The events at the positions ``start`` to ``stop`` of the store that is being written: those of whole users."""
    offsets = writer.read("user_offsets")
    first, last = np.searchsorted(offsets, [start, stop], side="left")
    own = offsets[first : last + 1]
    return SortedEvents(
        user=np.repeat(np.arange(first, last, dtype=np.int32), np.diff(own)),
        time=writer.read("events.time", start, stop),
        codes={name: writer.read(f"events.{name}", start, stop) for name in fields},
        first_user=int(first),
        offsets=own,
    )


class _Sampler:
    """Makes the samples of a range of users, in the order of their events."""

    def __init__(
        self,
        static: Sequence[str],
        encoding: Encoding,
        protocol: Protocol,
        pools: _Pools,
        held_users: np.ndarray | None,
    ) -> None:
        self._static = static
        self._encoding = encoding
        self._protocol = protocol
        self._pools = pools
        self._held = held_users
        self._items = FIRST_ID + len(encoding.vocabularies["item"].values)
        self.undrawn = 0  # negatives of positives that were the only item of their day

    def write(self, events: SortedEvents, writer: StoreWriter) -> None:
        """Appends the samples of these events."""
        ends = events.ends(events.user, events.time)
        viewed = _candidates(events, self._encoding, self._protocol, self._held)
        rows = np.flatnonzero(viewed & (ends > events.starts(events.user)))
        if self._protocol.task == "buy":
            bought = self._bought_later(events)
            for part in _in_chunks(rows):
                every = np.arange(len(part))
                self._samples(events, part, every, events.codes["item"][part], bought[part]).write(writer, ends[part])
            return
        for part in _in_chunks(rows):
            items = np.column_stack([events.codes["item"][part], self._negatives(events, part)]).reshape(-1)
            kept = items != NO_ITEM
            self.undrawn += int((~kept).sum())
            label = (np.arange(len(items)) % (1 + self._protocol.negatives) == 0)[kept]
            which = np.repeat(np.arange(len(part)), 1 + self._protocol.negatives)[kept]
            self._samples(events, part, which, items[kept], label).write(writer, ends[part][which])

    def _negatives(self, events: SortedEvents, rows: np.ndarray) -> np.ndarray:
        """The negative items for the positives at ``rows``, (rows, negatives)."""
        pools = self._pools.numbers(events.time[rows])
        drawn = np.empty((len(rows), self._protocol.negatives), dtype=np.int32)
        for pool in np.unique(pools).tolist():
            mine = pools == pool
            stream = stream_seed(self._protocol.seed, "negatives", pool // len(SPLITS))
            item, number = events.codes["item"][rows[mine]], events.offsets[0] + rows[mine]
            drawn[mine] = draw_negatives(stream, self._pools.of(pool), item, number, self._protocol.negatives)
        return drawn

    def _bought_later(self, events: SortedEvents) -> np.ndarray:
        """Whether each event's user buys its item at the same time or later, on the same day and in the same split."""
        periods, time = self._protocol.periods, events.time
        days = local_days(time, periods.utc_offset_hours)
        days = days - days.min(initial=0)
        split = periods.splits_of(time)
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
        self, events: SortedEvents, rows: np.ndarray, which: np.ndarray, item: np.ndarray, label: np.ndarray
    ) -> Samples:
        """The samples with the candidates ``item`` (samples,).

        A sample has the user and the time of the event ``rows[which]``.
        """
        user, time = events.user[rows], events.time[rows]
        frame = pl.DataFrame({"time": time}).select(
            *self._protocol.periods.moments(), self._protocol.periods.split_of(pl.col("time")).alias("split")
        )
        codes = {USER_TABLE: (user + np.int32(FIRST_ID))[which], "item": item}
        for name in self._static:
            if name in MOMENTS:
                codes[name] = self._encoding.vocabularies[name].encode(frame[name])[which]
            elif name not in codes:
                codes[name] = self._own_codes(self._encoding.own[name], codes, time[which])
        static = {name: codes[name] for name in self._static}
        split = frame["split"].to_numpy()[which]
        return Samples(user=user[which], time=time[which], label=label, split=split, static=static)

    def _own_codes(self, own: OwnCodes, codes: Mapping[str, np.ndarray], time: np.ndarray) -> np.ndarray:
        """The codes of an item's or a user's field at some times.

        Of drawn items everything is known that is known at the end of the day, as of the positive beside them: if what
        is known were that of the very second, negatives that nobody has viewed yet would lack it, and positives not.
        """
        owners = codes[own.owner]
        if own.since is None or own.owner == USER_TABLE or self._protocol.task == "buy":
            return own.of(owners, time)
        known = self._pools.numbers(own.since[owners]) <= self._pools.numbers(time)
        return np.where(known, own.codes[owners], np.int32(UNKNOWN))


def _in_chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))
