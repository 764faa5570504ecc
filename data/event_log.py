"""The source ``event_log``: any log in text, JSON lines or Parquet. The config names its columns, so none needs code.

With a label column each row is an impression, and the task is to predict the click. Without one, each row is an action
of a user, and the task is to tell the next item from negatives. With a second file of samples, exactly its rows are
samples; the history of each is the user's events strictly before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mdaf.data.new_rows.row_format import Cell, Own, RowFormat, When, words
from mdaf.data.preparing.next_click import PROTOCOL, Protocol
from mdaf.data.preparing.own_log.build import OwnLog
from mdaf.data.preparing.own_log.field_names import ROLES
from mdaf.data.preparing.own_log.settings import OWNERS, SAMPLE_ROLES, EventLogSettings
from mdaf.data.preparing.own_log.side_tables import SideTable
from mdaf.data.preparing.source import Contents, settings_of, split_times
from mdaf.data.preparing.spill import GIGABYTE, block_bytes
from mdaf.data.reading.cells import member_list, short_decimal
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.formats.by_ending import Spelling, table_file
from mdaf.data.reading.formats.delimited import spelled_out
from mdaf.data.reading.log_files import beside, lies_beside, named, required_files
from mdaf.data.reading.log_table import CellKinds, LogTable
from mdaf.data.store.cell_rows import MultiValued, Numeric
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.terminal.progress import Progress

_READING = 2  # changes with what is read from the same file: a store of another number is prepared anew


@dataclass(frozen=True)
class EventLogFile(EventLogSettings):
    """The source: reads the files that its settings name, and makes their store."""

    name = "event_log"

    @cached_property
    def _files(self) -> list[Path]:
        """The files of the log. Tables that lie beside it in a folder are none of them."""
        files = required_files(self.path, "data.path", "a log, CSV, JSON lines or Parquet")
        tables = tuple(name for owner in OWNERS if (name := self.table_settings(owner)["beside"]) is not None)
        return [file for file in files if not lies_beside(file, tables)] or files

    @cached_property
    def _sample_files(self) -> list[Path]:
        if self.samples_path is None:
            return []
        return required_files(self.samples_path, "data.samples_path", "a file of samples, CSV, JSON lines or Parquet")

    @cached_property
    def _side_tables(self) -> list[SideTable]:
        """The side tables that have some of the fields."""
        found = (self._side_table(owner) for owner in OWNERS if self.has(owner))
        return [table for table in found if table is not None]

    def _side_table(self, owner: str) -> SideTable | None:
        typed, key = self.table_settings(owner), f"data.{owner}_table"
        paths = self._side_files(owner)
        if not paths:
            return None
        spelling = replace(
            self._spelling,
            separator=self.separator if typed["separator"] is None else typed["separator"],
            header=typed["header"],
        )
        wanted = self._columns_of(owner)
        fields = {name: column for name, column in wanted.items() if table_file(paths[0], (), "", spelling).has(column)}
        if not fields and typed["path"] is None:
            return None
        column = str(typed["key"] or self.columns[owner])
        if not fields:
            if wanted:
                table_file(paths[0], (column,), f"the column {column} ({key})", spelling).check()
            listed = ", ".join(wanted.values()) or "none"
            raise DataError(
                f"{key}.path={named(typed['path'])} has none of the columns in data.{owner}_fields ({listed}); name "
                "some of its columns there"
            )
        return SideTable(
            owner, paths, column, fields, spelling, block_bytes(self.memory_gb), self.max_bad_fraction, self._cell_kinds
        )  # fmt: skip

    def _side_files(self, owner: str) -> list[Path]:
        """The files that describe the items, or the users; none if the config names none, or none is beside the log."""
        typed, key = self.table_settings(owner), f"data.{owner}_table"
        if typed["path"] is not None:
            return required_files(typed["path"], f"{key}.path", f"a table of {owner}s, CSV, JSON lines or Parquet")
        if typed["beside"] is not None and (file := beside(self._files[0], typed["beside"])).is_file():
            return [file]
        return []

    def _lacking(self, told: Collection[str]) -> str:
        """Which columns side tables lack, so that they are looked for in the log; for its error message."""
        said = ""
        for owner in OWNERS:
            files = self._side_files(owner) if self.has(owner) else []
            absent = [column for name, column in self._columns_of(owner).items() if name not in told] if files else []
            said += f"; {files[0].name} has no {', no '.join(absent)}" if absent else ""
        return said

    def _columns_of(self, owner: str) -> dict[str, str]:
        """The fields of items or users, and their columns."""
        fields = self.of_item if owner == "item" else self.of_user
        listed = self.fields[owner]
        return {name: str(self.columns["category"] if name == "category" else listed[name]) for name in fields}

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """The settings that change the store, and the hashes of the files."""
        tables = {table.owner: table for table in self._side_tables}
        files = [*self._files, *self._sample_files, *(path for table in tables.values() for path in table.paths)]
        drawn = {} if self.has("label") or self._sample_files else {"protocol": PROTOCOL}
        counts = {"log": len(self._files), "samples": len(self._sample_files)}
        several = {"files": counts} if max(counts.values()) > 1 or tables else {}
        described = {
            f"{owner}_table": {
                "files": len(table.paths),
                "key": table.column,
                "fields": dict(table.fields),
                "header": table.spelling.header and list(table.spelling.header),
                "separator": table.spelling.separator,
            }
            for owner, table in tables.items()
        }
        settings = settings_of(self, "item_table", "user_table")
        return {"settings": settings, "inputs": hashes.of(files), "reading": _READING, **several, **described, **drawn}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads the files and writes their store. Raises DataError for another format and for too many bad rows."""
        dated = self.validation_start is not None and self.test_start is not None
        validation, test = split_times(self, "validation_start", "test_start") if dated else (0, 0)
        protocol = Protocol(
            task=self.task,
            negatives=self.negatives,
            negatives_from=self.negatives_from,
            view=self.view,
            purchase=self.purchase,
            min_count=self.counts,
            seed=self.seed,
        )
        said = self.has("category") and self.sample_columns.get("category") is not None
        return OwnLog(
            path=named(self.path),
            samples_path=named(self.samples_path),
            table=self._table(),
            samples=self._given_table() if self._sample_files else None,
            side_tables=self._side_tables,
            layout=self.layout,
            user_fields=self.of_user,
            item_fields=self.of_item,
            timed=self.has("time"),
            anonymous=not self.has("user"),
            labelled=self.has("label"),
            said=("category",) if said else (),
            every_row=self.history == "all",
            rule=self.rule,
            dates=(validation, test) if dated else None,
            shares=(self.validation_share, self.test_share),
            held_out_users=self.held_out_users,
            protocol=protocol,
            time_format=self.time_format,
            utc_offset_hours=self.utc_offset_hours,
            min_count=self.counts,
            max_bad_fraction=self.max_bad_fraction,
            memory_gb=self.memory_gb,
        ).build(writer, progress)

    def new_rows(self) -> RowFormat:
        """Rows as in the log, or as in the file of samples where there is one; without a label."""
        given, labelled = self.samples_path is not None, self.has("label")
        roles = self.sample_columns if given else self.columns
        said = {"category"} if given and roles.get("category") is not None else set()
        settled: When = "before" if given else "day" if self.task == "next_click" else "at"
        of_item: When = "latest" if labelled and not given else settled
        of_user: When = "latest" if labelled and not given else "before" if given else "at"
        own = {name: Own("item", "latest" if name in said else of_item) for name in self.of_item}
        own |= {name: Own("user", of_user) for name in self.of_user}
        in_events = {name: Own("item", "latest" if own[name].when == "latest" else "at") for name in self.of_item}

        def columns(roles: Mapping[str, str | None], *names: str) -> dict[str, str]:
            return {name: column for name in names if (column := roles.get(name)) is not None}

        whose = ("user", "item", "time", *(["category"] if self.has("category") else []))
        of_rows = {name: column for owner in ("user", "item", "context") for name, column in self.fields[owner].items()}
        of_events = {**self.fields["item"], **self.fields["event"]}
        return RowFormat(
            rows=self._new_cells({**columns(roles, *whose), **of_rows}, own),
            events=self._new_cells({**columns(self.columns, *whose, "behaviour"), **of_events}, in_events),
            own=own,
            event_own=in_events,
            utc_offset_hours=self.utc_offset_hours,
            time_format=self.time_format,
            label=self.columns.get("label") if labelled and not given and self.history == "positives" else None,
            positive_from=self.positive_from,
            unique=not labelled and not given,
            separator=self.separator,
            between=self._spelling.between,
            headers=[] if given or self.header is None else self._new_headers(self.header),
        )

    def _new_headers(self, header: Sequence[str]) -> list[list[str]]:
        """The columns of new rows without a header: those of the log, with its label or without."""
        label = self.columns.get("label")
        return [list(header), [name for name in header if name != label]]

    def _new_cells(self, columns: Mapping[str, str], optional: Collection[str]) -> dict[str, Cell]:
        """Cells in these ``columns``, field -> column; those of the ``optional`` fields may be absent."""
        cells = words(columns, optional)
        for name, rule in self.cells.items():
            if name in cells:
                typed = short_decimal(name) if isinstance(rule, Numeric) else member_list(name, rule.separator)
                cells[name] = replace(cells[name], typed=typed)
        return cells

    def _table(self) -> LogTable:
        """The log. Its rows have the columns of the roles and of the fields, but for those of side tables."""
        roles = {role: column for role in ROLES if (column := self.columns.get(role)) is not None}
        if self._sample_files:
            roles.pop("label", None)
        own = dict(self.fields)
        if self._sample_files:
            del own["context"]
        fields = {name: column for columns in own.values() for name, column in columns.items()}
        told = {name for table in self._side_tables for name in table.fields}
        columns = {name: column for name, column in {**roles, **fields}.items() if name not in told}
        return self._table_of(self._files, columns, f"data.columns{self._lacking(told)}", self._spelling)

    def _given_table(self) -> LogTable:
        """The files of samples."""
        roles = {role: column for role in SAMPLE_ROLES if (column := self.sample_columns.get(role)) is not None}
        absent = [role for role in SAMPLE_ROLES if role not in roles and role != "category"]
        if absent:
            raise DataError(f"data.sample_columns.{absent[0]} is not set: expected the name of a column")
        if not self.has("category"):
            roles.pop("category", None)
        columns = {**roles, **self.fields["context"]}
        return self._table_of(self._sample_files, columns, "data.sample_columns", replace(self._spelling, header=None))

    @property
    def _spelling(self) -> Spelling:
        row_group = max(int(self.memory_gb * GIGABYTE / 2), 1 << 24)
        lists = {column: spelled_out(typed, f"data.list_fields.{column}") for column, typed in self.list_fields.items()}
        return Spelling(self.separator, self.header, self.quotes, row_group, lists)

    @property
    def _cell_kinds(self) -> CellKinds:
        return CellKinds(
            numbers=[name for name, rule in self.cells.items() if isinstance(rule, Numeric)],
            lists={name: rule.separator for name, rule in self.cells.items() if isinstance(rule, MultiValued)},
        )

    def _table_of(self, paths: Sequence[Path], columns: Mapping[str, str], key: str, spelling: Spelling) -> LogTable:
        return LogTable(
            paths,
            columns,
            key,
            spelling,
            time_format=self.time_format,
            utc_offset_hours=self.utc_offset_hours,
            positive_from=self.positive_from,
            block_bytes=block_bytes(self.memory_gb),
            cells=self._cell_kinds,
        )
