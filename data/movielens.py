"""The source ``movielens``: MovieLens in atomic files of ratings, items and users.

A rating is an impression; it counts as clicked if it is high enough. The history contains all earlier ratings of the
user, with their values. An item's category is its whole list of genres, or several genres. Users have an age, a gender
and an occupation; an age is a bucket of ten years, or a number.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from mdaf.data.new_rows.row_format import Cell, Own, RowFormat, numbers, words
from mdaf.data.preparing.impressions import write_impressions
from mdaf.data.preparing.layout import Layout, Periods
from mdaf.data.preparing.raw_log import RawLog
from mdaf.data.preparing.source import Contents, check_held_out, refuse_below, refuse_others, settings_of, split_times
from mdaf.data.preparing.spill import block_bytes
from mdaf.data.preparing.splits.dated import DatedSource
from mdaf.data.reading.cells import decimal, member_list, number, short_decimal, word
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.formats.delimited import TextFile
from mdaf.data.reading.local_time import too_far
from mdaf.data.reading.log_files import required_file
from mdaf.data.reading.rows import Rows, described
from mdaf.data.schema import VECTOR
from mdaf.data.store.cell_rows import MEAN, MultiValued, Numeric
from mdaf.data.store.vocabulary import check_min_count
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.terminal.progress import Progress, between

ONE, MANY = "one", "many"  # what a list of genres is: one category, or several
DECADES, NUMBER = "decades", "number"  # what an age is
_BETWEEN_GENRES = " "
_YEARS = 10  # the width of an age bucket
# The columns without their types, which differ between the public files: age:token and age:float.
_RATINGS = {"user_id": "user", "item_id": "item", "rating": "rating", "timestamp": "time"}
_GENRES = ("class", "genre", "genres")  # what the column is called in the public files
_USERS = {"user_id": "user", "age": "age", "gender": "gender", "occupation": "occupation"}
_EVENTS = ("item", "category", "rating")
_STATIC = ("user", "item", "category", "age", "gender", "occupation", "hour", "weekday")


@dataclass(frozen=True)
class MovieLens:
    """The source and its settings. ``conf/data/movielens.yaml`` describes each setting."""

    path: str | None
    length: int
    click_rating: float
    utc_offset_hours: float
    validation_start: str
    test_start: str
    min_count: Mapping[str, int]
    max_bad_fraction: float
    memory_gb: float
    seed: int
    held_out_users: float = 0.0
    splits: str | None = None
    validation_share: float | None = None
    test_share: float | None = None
    genres: str = ONE
    age: str = DECADES

    name = "movielens"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, max_bad_fraction=0, memory_gb=0, seed=0)
        refuse_others("genres", self.genres, (ONE, MANY))
        refuse_others("age", self.age, (DECADES, NUMBER))
        check_held_out(self.held_out_users)
        check_min_count(self.min_count, self._layout.tables)
        split_times(self, "validation_start", "test_start")
        _ = self._splits

    @cached_property
    def _splits(self) -> DatedSource:
        return DatedSource(self.splits, self.validation_share, self.test_share, self.held_out_users)

    @property
    def _layout(self) -> Layout:
        rules: dict[str, MultiValued | Numeric] = {}
        if self.genres == MANY:
            rules["category"] = MultiValued(_BETWEEN_GENRES, MEAN)
        if self.age == NUMBER:
            rules["age"] = Numeric(VECTOR)
        return Layout(_EVENTS, _STATIC, self.length, cells=rules)

    @property
    def _category(self) -> pl.Expr:
        return word("category") if self.genres == ONE else member_list("category", _BETWEEN_GENRES)

    @property
    def _age(self) -> pl.Expr:
        return _decade("age") if self.age == DECADES else short_decimal("age")

    @cached_property
    def _files(self) -> tuple[TextFile, TextFile, TextFile]:
        """The files of ratings, items and users. The last two are next to the first and end in .item and .user."""
        ratings = required_file(self.path, "data.path", "the ratings in an atomic file, such as ml-100k.inter")
        others = (ratings.with_suffix(".item"), ratings.with_suffix(".user"))
        for other in others:
            if not os.path.isfile(other):
                raise DataError(f"data.path={self.path}: {other.name} must lie beside it, and does not")
        genres = next((name for name in _GENRES if _atomic(others[0], {}).has(name)), _GENRES[0])
        items = {"item_id": "item", genres: "category"}
        paths = zip((ratings, *others), (_RATINGS, items, _USERS), strict=True)
        return tuple(_atomic(path, columns) for path, columns in paths)  # type: ignore[return-value]

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """The settings that change the store, and the hashes of the three files."""
        return {"settings": settings_of(self), "inputs": hashes.of([text.path for text in self._files])}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads the files and writes their store. Raises DataError for another format and for too many bad rows."""
        ratings, *_ = self._files
        for text in self._files:
            text.check()
        validation, test = split_times(self, "validation_start", "test_start")
        periods = Periods(validation, test, self.utc_offset_hours)
        items, users, defects = self._properties()
        with writer.workspace() as folder:
            lost: list[Defects] = []
            read = self._known(ratings, items, users, lost, between(progress, 0.0, 0.5))
            splits, known = self._splits.of(read, folder, periods)
            log = RawLog(folder, self._layout, splits)
            for rows in known:
                log.add_events(rows.drop("age", "gender", "occupation"))
                label = (pl.col("rating") >= self.click_rating).cast(pl.UInt8).alias("label")
                log.add_samples(rows.with_columns(label, *periods.moments()).drop("rating"))
            defects = sum(lost, defects)
            defects.refuse_if_too_many(str(self.path), self.max_bad_fraction)
            return write_impressions(
                writer,
                log,
                folder,
                min_count=self.min_count,
                memory_gb=self.memory_gb,
                defects=defects,
                progress=between(progress, 0.5, 1.0),
            )

    def _known(
        self, text: TextFile, items: pl.DataFrame, users: pl.DataFrame, lost: list[Defects], progress: Progress
    ) -> Iterator[pl.DataFrame]:
        """The ratings in blocks, with what is known of their items and users; defects are added to ``lost``."""
        lacking = {"item without genres": "category", "user without a profile": "gender"}
        for rows, found, share in self._ratings(text):
            progress("reading", share)
            known = rows.join(items, on="item", how="left", maintain_order="left")
            known = known.join(users, on="user", how="left", maintain_order="left")
            unknown = {kind: int(known[column].is_null().sum()) for kind, column in lacking.items()}
            lost.append(found + Defects(incomplete=unknown))
            yield known

    def new_rows(self) -> RowFormat:
        """Rows with the columns user, item and time (unix seconds); events with rating too.

        Category, age, gender and occupation are known of items and users; for new ones they may be columns.
        """
        own = {"category": Own("item", "always")}
        of_user = {name: Own("user", "always") for name in ("age", "gender", "occupation")}
        ids = numbers("user", "item", "time")
        category = {"category": Cell("category", self._category, needed=False)}
        profile = words({"gender": "gender", "occupation": "occupation"}, of_user)
        return RowFormat(
            rows={**ids, **category, **profile, "age": Cell("age", self._age, needed=False)},
            events={**ids, **category, "rating": Cell("rating", decimal("rating"))},
            own=own | of_user,
            event_own=own,
            utc_offset_hours=self.utc_offset_hours,
        )

    def _ratings(self, text: TextFile) -> Iterator[tuple[pl.DataFrame, Defects, float]]:
        time = decimal("time").floor().cast(pl.Int64, strict=False)
        fields = tuple(_RATINGS.values())
        rows = Rows(
            text,
            columns={field: column for column, field in _RATINGS.items()},
            typed={"user": number("user"), "item": number("item"), "time": time, "rating": decimal("rating")},
            needed=fields,
            numbers=fields,
            kinds={"time out of range": too_far(pl.col("time"))},
        )
        for lines in text.frames(block_bytes(self.memory_gb)):
            yield *rows.usable(lines), lines.share

    def _properties(self) -> tuple[pl.DataFrame, pl.DataFrame, Defects]:
        """Items with their category, users with age bucket, gender and occupation, and the defects of both files."""
        _, item_file, user_file = self._files
        named = dict(zip(item_file.columns, ("item", "category"), strict=True))
        items, bad_items = self._described(item_file, named, "item", {"category": self._category})
        users, bad_users = self._described(user_file, _USERS, "user", {"age": self._age}, ["age"])
        return items, users, bad_items + bad_users

    def _described(
        self,
        text: TextFile,
        columns: Mapping[str, str],
        key: str,
        typed: Mapping[str, pl.Expr],
        optional: Sequence[str] = (),
    ) -> tuple[pl.DataFrame, Defects]:
        """The rows of a small file, only the first of each key, and its defects; see ``rows.described``."""
        rows = Rows(
            text,
            columns={field: column for column, field in columns.items()},
            typed={key: number(key), **typed},
            needed=[key],
            numbers=[key],
            optional=optional,
        )
        return described(rows, key, self.max_bad_fraction, 1 << 24)


def _decade(name: str) -> pl.Expr:
    """The first year of an age's bucket, of a column of text."""
    return number(name) // _YEARS * _YEARS


def _atomic(path: Path, columns: Mapping[str, str]) -> TextFile:
    expected = f"tab-separated columns {', '.join(columns)} with a header"
    return TextFile(path, tuple(columns), expected, separator="\t", header=True)
