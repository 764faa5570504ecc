"""Builds the store of somebody's own log: with labels, without, or with a second file that holds the samples."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import polars as pl

from mdaf.data.preparing.checking.lost_labels import LostLabels, unit_hint
from mdaf.data.preparing.checking.same_ids import refuse_other_spellings, refuse_other_times
from mdaf.data.preparing.impressions import write_impressions
from mdaf.data.preparing.layout import Layout, Periods, moments
from mdaf.data.preparing.next_click import Protocol as NextClick
from mdaf.data.preparing.next_click import write_next_click
from mdaf.data.preparing.own_log.side_tables import SideTable, described
from mdaf.data.preparing.raw_log import OwnFields, RawLog
from mdaf.data.preparing.source import Contents
from mdaf.data.preparing.spill import SpilledFrames
from mdaf.data.preparing.splits.given import given_splits
from mdaf.data.preparing.splits.leave_one_out import LeaveOneOut, leave_one_out, numbered
from mdaf.data.preparing.splits.rules import BY_USER, LEAVE_ONE_OUT, ByTime, ByUser, Splits
from mdaf.data.preparing.splits.shares import periods_of_shares, positions_of_shares, span_of
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.log_table import Block
from mdaf.data.reading.times import UNITS, likelier_unit, span
from mdaf.data.store.promises import NONE, SENTENCES
from mdaf.data.store.writer import StoreWriter
from mdaf.terminal.progress import Progress, between

log = logging.getLogger(__name__)


class Table(Protocol):
    """Rows that are read block by block."""

    def blocks(self) -> Iterator[Block]:
        """The blocks, in the order of the file."""


@dataclass(frozen=True)
class OwnLog:
    """A log that is to be read, and the settings of its store.

    ``path``, ``samples_path``      what messages call the log and the file of samples.
    ``table``, ``samples``          their rows. Without ``samples``, samples are made from the log.
    ``side_tables``                 what describes users and items.
    ``user_fields, item_fields``    the fields that belong to a user or an item, the category among them.
    ``timed``                       whether rows have times; if not, their time is their number.
    ``anonymous``                   whether each row is of another user, so that there are no histories.
    ``labelled``                    whether the log's rows have labels.
    ``said``                        the fields of an item that the rows of ``samples`` say themselves.
    ``every_row``                   whether the history of a labelled log holds all rows, not the positives alone.
    ``rule``                        how rows are split, one of ``splits.rules.RULES``.
    ``dates``                       when validation and test begin, in unix seconds; None: by ``shares`` of the rows.
    ``protocol``                    how samples of a log without labels are made.
    """

    path: str
    samples_path: str
    table: Table
    samples: Table | None
    side_tables: Sequence[SideTable]
    layout: Layout
    user_fields: tuple[str, ...]
    item_fields: tuple[str, ...]
    timed: bool
    anonymous: bool
    labelled: bool
    said: tuple[str, ...]
    every_row: bool
    rule: str
    dates: tuple[int, int] | None
    shares: tuple[float, float]
    held_out_users: float
    protocol: NextClick
    time_format: str
    utc_offset_hours: float
    min_count: Mapping[str, int]
    max_bad_fraction: float
    memory_gb: float

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads the files and writes their store. Raises DataError for another format and for too many bad rows."""
        with writer.workspace() as folder:
            read = self._read(self.table, self.path, folder / "rows", between(progress, 0.0, 0.3))
            if self.timed:
                self._warn_of_another_unit(read.rows)
            read = self._described(read, folder / "described")
            later, write = between(progress, 0.3, 0.5), between(progress, 0.5, 1.0)
            if self.samples is not None:
                return self._build_given(writer, folder, read, later, write)
            splits = self._splits(read.rows)
            if isinstance(splits, ByTime):
                lost, periods = read.lost, splits.periods
                lost.refuse_a_split_without(self.path, read.rows, periods, self.max_bad_fraction, read.defects)
            if self.labelled:
                return self._build_labelled(writer, folder, read, splits, later, write)
            return self._build_next_click(writer, folder, read, splits, later, write)

    def _read(self, table: Table, path: str, folder: Path, progress: Progress) -> _Read:
        read, hint = _Read(SpilledFrames(folder)), ""
        for block in table.blocks():
            progress("reading", block.share)
            read.rows.append(block.rows)
            read.lost.add(block.bad)
            read.defects += block.defects
            hint = hint or unit_hint(block.bad, self.time_format)
        read.defects.refuse_if_too_many(path, self.max_bad_fraction, hint)
        return read

    def _described(self, read: _Read, folder: Path) -> _Read:
        """The rows with what side tables say of their users and items."""
        rows, lacking = described(read.rows, self.side_tables, folder)
        return replace(read, rows=rows, defects=read.defects + lacking)

    @cached_property
    def _told(self) -> frozenset[str]:
        """The fields that side tables have."""
        return frozenset(field for table in self.side_tables for field in table.fields)

    def _own(self) -> list[OwnFields]:
        """The fields of items and users that the log's events tell."""
        told = [name for name in self.item_fields if self.samples is None or name not in {*self.said, *self._told}]
        of_user = [name for name in self.user_fields if self.samples is None or name not in self._told]
        found = (OwnFields(owner, fields, self._told) for owner, fields in (("item", told), ("user", of_user)))
        return [own for own in found if own.fields or (own.owner == "item" and self.samples is None)]

    def _warn_of_another_unit(self, rows: SpilledFrames) -> None:
        reach, otherwise = self._span(rows)
        if otherwise:
            log.warning("%s: its times reach %s%s", self.path, reach, otherwise)

    def _span(self, rows: SpilledFrames) -> tuple[str, str]:
        """The first and last time of the rows as text, and a hint if another unit of time is more likely."""
        first, last = span_of(rows)
        parts, offset = UNITS.get(self.time_format, 1), self.utc_offset_hours
        hint = ""
        if unit := likelier_unit(last * parts, self.time_format):
            low, high = (time * parts // UNITS[unit] for time in (first, last))
            hint = f"; in data.time_format={unit} they would reach {span(low, high, offset)}"
        return span(first, last, offset), hint

    def _splits(self, rows: SpilledFrames) -> Splits:
        """The rule by which the log's own rows are split."""
        offset = self.utc_offset_hours
        if self.rule == BY_USER:
            return ByUser(offset, *self.shares)
        if self.rule == LEAVE_ONE_OUT:
            if self.labelled:
                return leave_one_out(rows, offset)
            return leave_one_out(rows, offset, self.protocol.view, ("item", *self._told_by_events()))
        if not self.timed:
            return ByTime(Periods(*positions_of_shares(rows, *self.shares, self.path), offset), self.held_out_users)
        begins = self.dates or periods_of_shares(rows, *self.shares, self.path, "".join(self._span(rows)))
        return ByTime(Periods(*begins, offset), self.held_out_users)

    def _told_by_events(self) -> tuple[str, ...]:
        """The fields that each event says for itself, beside its item."""
        owned = {"item", *self.item_fields, *self.user_fields}
        return tuple(name for name in self.layout.events if name not in owned)

    def _build_next_click(
        self, writer: StoreWriter, folder: Path, read: _Read, splits: Splits, progress: Progress, write: Progress
    ) -> Contents:
        raw = RawLog(folder, self.layout, splits, self._own())
        for number, frame in enumerate(_frames(read.rows, splits)):
            progress("counting", number / len(read.rows))
            raw.add_events(frame)
        return write_next_click(writer, raw, folder, self.protocol, self.memory_gb, read.defects, write)

    def _build_labelled(
        self, writer: StoreWriter, folder: Path, read: _Read, splits: Splits, progress: Progress, write: Progress
    ) -> Contents:
        raw = RawLog(folder, self.layout, splits)
        for number, frame in enumerate(_frames(read.rows, splits)):
            progress("counting", number / len(read.rows))
            raw.add_samples(frame.with_columns(moments(self.utc_offset_hours)))
            if not self.anonymous:
                raw.add_events(frame if self.every_row else frame.filter(pl.col("label") == 1))
        return self._write(writer, raw, folder, read.defects, write)

    def _build_given(
        self, writer: StoreWriter, folder: Path, read: _Read, progress: Progress, write: Progress
    ) -> Contents:
        assert self.samples is not None
        given = self._read(self.samples, self.samples_path, folder / "given", progress)
        given.lost.refuse_a_split_without(self.samples_path, given.rows, None, self.max_bad_fraction, given.defects)
        splits = given_splits(given.rows, self.samples_path, self.utc_offset_hours)
        if splits.promise == NONE:
            log.warning("%s: %s", self.samples_path, SENTENCES[NONE])
        refuse_other_times(read.rows, given.rows, self.samples_path, self.utc_offset_hours)
        refuse_other_spellings(read.rows, given.rows, ("user", "item", *self.said), self.samples_path)
        given = self._described(given, folder / "given, described")
        # Fields in the file of samples and in side tables are taken from there, all other fields from the events.
        raw = RawLog(folder, self.layout, splits, self._own())
        for number, frame in enumerate(read.rows):
            progress("counting", number / (len(read.rows) + len(given.rows)))
            raw.add_events(frame)
        for frame in given.rows:
            raw.add_samples(frame.with_columns(moments(self.utc_offset_hours)))
        contents = self._write(writer, raw, folder, read.defects, write)
        contents.defects.refuse_if_too_many(self.path, self.max_bad_fraction)  # of the log alone
        return replace(contents, defects=contents.defects + given.defects)

    def _write(self, writer: StoreWriter, raw: RawLog, folder: Path, defects: Defects, progress: Progress) -> Contents:
        return write_impressions(
            writer,
            raw,
            folder,
            min_count=self.min_count,
            memory_gb=self.memory_gb,
            defects=defects,
            progress=progress,
        )


def _frames(rows: SpilledFrames, splits: Splits) -> Iterable[pl.DataFrame]:
    return numbered(rows) if isinstance(splits, LeaveOneOut) else rows


@dataclass
class _Read:
    """What was read of a file: usable rows, rows without a label, and the numbers of bad rows."""

    rows: SpilledFrames
    lost: LostLabels = field(default_factory=LostLabels)
    defects: Defects = field(default_factory=Defects)
