"""The source ``event_log``: any log in CSV or Parquet. The config names its columns, so a new data set needs no code.

With a label column each row is an impression, and the task is to predict the click. Without one, each row is an action
of a user, and the task is to tell the next item from negatives. With a second file of samples, exactly its rows are
samples; the history of each is the user's events strictly before it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mdaf.data.preparing.field_names import ROLES, field_names, refuse_label_elsewhere
from mdaf.data.preparing.impressions import write_impressions
from mdaf.data.preparing.layout import MOMENTS, Layout, Periods
from mdaf.data.preparing.lost_labels import LostLabels, unit_hint
from mdaf.data.preparing.next_click import PROTOCOL, TASKS, Protocol, write_next_click
from mdaf.data.preparing.raw_log import OwnFields, RawLog
from mdaf.data.preparing.same_ids import refuse_other_spellings
from mdaf.data.preparing.source import (
    Contents,
    check_held_out,
    check_shares,
    refuse_below,
    refuse_others,
    required_file,
    settings_of,
    split_times,
)
from mdaf.data.preparing.spill import GIGABYTE, SpilledFrames, block_bytes
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.formats.delimited import spelled_out
from mdaf.data.reading.log_table import LogTable
from mdaf.data.reading.times import UNITS, check_time_format, likelier_unit, span
from mdaf.data.store.event_store import SPLITS
from mdaf.data.store.vocabulary import check_min_count
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.terminal.progress import Progress, between

log = logging.getLogger(__name__)

SAMPLE_ROLES = ("user", "item", "category", "time", "label", "split")
HISTORIES = ("positives", "all")
_HOUR = 3600
_READING = 2  # changes with what is read from the same file: a store of another number is prepared anew


@dataclass(frozen=True)
class EventLogFile:
    """The source and its settings. ``conf/data/event_log.yaml`` describes each setting."""

    path: str | None
    samples_path: str | None
    columns: Mapping[str, str | None]
    sample_columns: Mapping[str, str | None]
    user_fields: Sequence[str]
    item_fields: Sequence[str]
    separator: str
    time_format: str
    positive_from: float
    history: str
    task: str
    view: str | None
    purchase: str | None
    length: int
    negatives: int
    utc_offset_hours: float
    validation_start: str | None
    test_start: str | None
    validation_share: float
    test_share: float
    min_count: Mapping[str, int]
    max_bad_fraction: float
    memory_gb: float
    seed: int
    held_out_users: float = 0.0

    name = "event_log"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, negatives=1, max_bad_fraction=0, memory_gb=0, seed=0)
        refuse_others("task", self.task, TASKS)
        refuse_others("history", self.history, HISTORIES)
        self._check_columns()
        check_held_out(self.held_out_users)
        if self.held_out_users and self.samples_path is not None:
            raise DataError(
                "data.held_out_users: the file of data.samples_path says which rows are the test; set it to 0"
            )
        check_time_format(self.time_format)
        spelled_out(self.separator)
        if self.validation_start is None and self.samples_path is None:
            check_shares(self.validation_share, self.test_share)
        check_min_count(self.min_count, self._layout.tables)
        if (self.validation_start is None) != (self.test_start is None):
            raise DataError("data.validation_start and data.test_start: set both, or none to split by shares")
        if self.task == "buy" and (self.view is None or self.purchase is None or not self._has("behaviour")):
            raise DataError("data.task=buy needs data.columns.behaviour, data.view and data.purchase")

    def _check_columns(self) -> None:
        for role in ("user", "item", "time"):
            if not self._has(role):
                raise DataError(f"data.columns.{role} is not set: expected the name of a column")
        unknown = [role for role in self.columns if role not in ROLES]
        if unknown:
            raise DataError(f"data.columns.{unknown[0]}: no such role; roles are {', '.join(ROLES)}")
        unknown = [role for role in self.sample_columns if role not in SAMPLE_ROLES]
        if unknown:
            raise DataError(f"data.sample_columns.{unknown[0]}: no such role; roles are {', '.join(SAMPLE_ROLES)}")
        refuse_label_elsewhere("data.columns", self.columns)
        refuse_label_elsewhere("data.sample_columns", self.sample_columns)

    def _has(self, role: str) -> bool:
        return self.columns.get(role) is not None

    @cached_property
    def _fields(self) -> dict[str, str]:
        """The log's own fields, and their columns."""
        return field_names(self.columns, self.user_fields, self.item_fields)

    @cached_property
    def _of_user(self) -> tuple[str, ...]:
        return tuple(field for field, column in self._fields.items() if column in self.user_fields)

    @cached_property
    def _of_item(self) -> tuple[str, ...]:
        category = ("category",) if self._has("category") else ()
        return (*category, *(field for field, column in self._fields.items() if column in self.item_fields))

    @cached_property
    def _layout(self) -> Layout:
        behaviour = ("behaviour",) if self._has("behaviour") else ()
        return Layout(
            events=("item", *self._of_item, *behaviour),
            static=("user", *self._of_user, "item", *self._of_item, *MOMENTS),
            length=self.length,
        )

    @cached_property
    def _file(self) -> Path:
        return required_file(self.path, "data.path", "a log, CSV or Parquet")

    @cached_property
    def _sample_file(self) -> Path | None:
        if self.samples_path is None:
            return None
        return required_file(self.samples_path, "data.samples_path", "a file of samples, CSV or Parquet")

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """The settings that change the store, and the hashes of the files."""
        files = [self._file, *([self._sample_file] if self._sample_file else [])]
        drawn = {} if self._has("label") or self._sample_file else {"protocol": PROTOCOL}
        return {"settings": settings_of(self), "inputs": hashes.of(files), "reading": _READING, **drawn}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads the files and writes their store. Raises DataError for another format and for too many bad rows."""
        with writer.workspace() as folder:
            rows, lost, defects, hint = SpilledFrames(folder / "rows"), LostLabels(), Defects(), ""
            for frame, found, bad, share in self._table().blocks():
                between(progress, 0.0, 0.3)("reading", share)
                rows.append(frame)
                lost.add(bad)
                defects += found
                hint = hint or unit_hint(bad, self.time_format)
            defects.refuse_if_too_many(str(self.path), self.max_bad_fraction, hint)
            reach, otherwise = self._span(rows)
            if otherwise:
                log.warning("%s: its times reach %s%s", self.path, reach, otherwise)
            later, write = between(progress, 0.3, 0.5), between(progress, 0.5, 1.0)
            if self._sample_file is not None:
                return self._build_given(writer, folder, rows, defects, later, write)
            periods = self._periods(rows)
            lost.refuse_a_split_without(str(self.path), rows, periods, self.max_bad_fraction, defects)
            if self._has("label"):
                return self._build_labelled(writer, folder, rows, periods, defects, later, write)
            return self._build_next_click(writer, folder, rows, periods, defects, later, write)

    def _span(self, rows: SpilledFrames) -> tuple[str, str]:
        """The first and last time of the rows as text, and a hint if another unit of time is more likely."""
        ends = [(int(frame["time"].min()), int(frame["time"].max())) for frame in rows]  # type: ignore[arg-type]
        first, last = min(low for low, _ in ends), max(high for _, high in ends)
        parts, offset = UNITS.get(self.time_format, 1), self.utc_offset_hours
        hint = ""
        if unit := likelier_unit(last * parts, self.time_format):
            low, high = (time * parts // UNITS[unit] for time in (first, last))
            hint = f"; in data.time_format={unit} they would reach {span(low, high, offset)}"
        return span(first, last, offset), hint

    def _build_next_click(
        self,
        writer: StoreWriter,
        folder: Path,
        rows: SpilledFrames,
        periods: Periods,
        defects: Defects,
        progress: Progress,
        write: Progress,
    ) -> Contents:
        own = [OwnFields("item", self._of_item)]
        if self._of_user:
            own.append(OwnFields("user", self._of_user))
        log = RawLog(folder, self._layout, periods, own, self.held_out_users)
        for number, frame in enumerate(rows):
            progress("counting", number / len(rows))
            log.add_events(frame)
        protocol = Protocol(
            task=self.task,
            periods=periods,
            negatives=self.negatives,
            view=self.view,
            purchase=self.purchase,
            min_count=self.min_count,
            seed=self.seed,
        )
        return write_next_click(writer, log, folder, protocol, self.memory_gb, defects, write)

    def _build_labelled(
        self,
        writer: StoreWriter,
        folder: Path,
        rows: SpilledFrames,
        periods: Periods,
        defects: Defects,
        progress: Progress,
        write: Progress,
    ) -> Contents:
        log = RawLog(folder, self._layout, periods, held_out_users=self.held_out_users)
        for number, frame in enumerate(rows):
            progress("counting", number / len(rows))
            log.add_samples(frame.with_columns(periods.moments()))
            log.add_events(frame if self.history == "all" else frame.filter(pl.col("label") == 1))
        return self._write(writer, log, folder, periods, defects, write)

    def _build_given(
        self,
        writer: StoreWriter,
        folder: Path,
        rows: SpilledFrames,
        defects: Defects,
        progress: Progress,
        write: Progress,
    ) -> Contents:
        samples, lost, found, hint = SpilledFrames(folder / "given"), LostLabels(), Defects(), ""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for frame, part, bad, _ in self._given_table().blocks():
            found += part
            samples.append(frame)
            lost.add(bad)
            hint = hint or unit_hint(bad, self.time_format)
            spans = frame.group_by("split").agg(low=pl.col("time").min(), high=pl.col("time").max())
            for split, low, high in spans.iter_rows():
                first[split] = min(low, first.get(split, low))
                last[split] = max(high, last.get(split, high))
        found.refuse_if_too_many(str(self.samples_path), self.max_bad_fraction, hint)
        lost.refuse_a_split_without(str(self.samples_path), samples, None, self.max_bad_fraction, found)
        if len(first) < len(SPLITS):
            missing = next(name for number, name in enumerate(SPLITS) if number not in first)
            raise DataError(f"data.samples_path={self.samples_path} has no row of split {missing}")
        begins = min(first[1], first[2])
        if last[0] >= begins:
            raise DataError(
                f"data.samples_path={self.samples_path}: a row of split train is from {last[0]}, the first of "
                f"validation and test from {begins}; expected training to end before"
            )
        periods = Periods(begins, first[2] if last[1] < first[2] else begins, self.utc_offset_hours)
        # Fields in the file of samples are taken from there, all other fields from the events.
        said = [name for name in self._of_item if name == "category" and self.sample_columns.get(name) is not None]
        told = [name for name in self._of_item if name not in said]
        own = [OwnFields(o, fields) for o, fields in (("user", self._of_user), ("item", told)) if fields]
        refuse_other_spellings(rows, samples, ("user", "item", *said), str(self.samples_path))
        log = RawLog(folder, self._layout, periods, own)
        for number, frame in enumerate(rows):
            progress("counting", number / (len(rows) + len(samples)))
            log.add_events(frame)
        for frame in samples:
            log.add_samples(frame.with_columns(periods.moments()), frame["split"] == 0)
        contents = self._write(writer, log, folder, periods, defects, write)
        contents.defects.refuse_if_too_many(str(self.path), self.max_bad_fraction)  # of the log alone
        return replace(contents, defects=contents.defects + found)

    def _write(
        self, writer: StoreWriter, log: RawLog, folder: Path, periods: Periods, defects: Defects, progress: Progress
    ) -> Contents:
        return write_impressions(
            writer,
            log,
            folder,
            periods=periods,
            min_count=self.min_count,
            memory_gb=self.memory_gb,
            defects=defects,
            progress=progress,
        )

    def _table(self) -> LogTable:
        """The log. Its rows have the columns of the roles and of the fields."""
        roles = {role: column for role in ROLES if (column := self.columns.get(role)) is not None}
        if self._sample_file is not None:
            roles.pop("label", None)
        return self._table_of(self._file, {**roles, **self._fields}, "data.columns")

    def _given_table(self) -> LogTable:
        """The file of samples."""
        assert self._sample_file is not None
        roles = {role: column for role in SAMPLE_ROLES if (column := self.sample_columns.get(role)) is not None}
        absent = [role for role in SAMPLE_ROLES if role not in roles and role != "category"]
        if absent:
            raise DataError(f"data.sample_columns.{absent[0]} is not set: expected the name of a column")
        if not self._has("category"):
            roles.pop("category", None)
        return self._table_of(self._sample_file, roles, "data.sample_columns")

    def _table_of(self, path: Path, columns: Mapping[str, str], key: str) -> LogTable:
        return LogTable(
            path,
            columns,
            key,
            separator=self.separator,
            time_format=self.time_format,
            utc_offset_hours=self.utc_offset_hours,
            positive_from=self.positive_from,
            block_bytes=block_bytes(self.memory_gb),
            row_group_bytes=max(int(self.memory_gb * GIGABYTE / 2), 1 << 24),
        )

    def _periods(self, rows: SpilledFrames) -> Periods:
        """The periods: by the config's dates, or else by the hours at which the config's shares of the rows begin."""
        if self.validation_start is not None and self.test_start is not None:
            validation, test = split_times(self, "validation_start", "test_start")
            return Periods(validation, test, self.utc_offset_hours)
        hours = (
            pl.concat([frame.group_by(hour=pl.col("time") // _HOUR).agg(rows=pl.len()) for frame in rows])
            .group_by("hour")
            .agg(pl.col("rows").sum())
            .sort("hour")
        )
        begun = np.cumsum(hours["rows"].to_numpy()) / hours["rows"].sum()
        late = [1 - self.validation_share - self.test_share, 1 - self.test_share]
        boundaries = [min(int(np.searchsorted(begun, share)) + 1, len(hours) - 1) for share in late]
        if not 0 < boundaries[0] < boundaries[1]:
            raise DataError(
                f"{self.path}: its {len(hours)} hours, {''.join(self._span(rows))}, cannot be split into shares by "
                "time; set data.validation_start and data.test_start"
            )
        validation, test = (int(hours["hour"][index]) * _HOUR for index in boundaries)
        return Periods(validation, test, self.utc_offset_hours)
