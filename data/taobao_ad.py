"""The source ``taobao_ad``: Ali Display Ad Click from its raw files of impressions, ads, users and behaviours.

Days 1 to 7 are for training. Day 8 is split into validation and test by a hash of the user, so that hyperparameters are
not tuned on the users of the test. (The public benchmark TaobaoAd_x1 uses all of day 8 both for early stopping and as
the test.) A history comes from the behaviour log. Without that file it comes from the user's earlier clicks on ads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from mdaf.data.new_rows.row_format import Cell, Own, RowFormat, numbers, words
from mdaf.data.preparing.impressions import write_impressions
from mdaf.data.preparing.layout import MOMENTS, Layout, Periods
from mdaf.data.preparing.raw_log import RawLog
from mdaf.data.preparing.source import Contents, refuse_below, refuse_others, settings_of, split_times
from mdaf.data.preparing.spill import block_bytes
from mdaf.data.preparing.splits.rules import ByTime
from mdaf.data.reading.cells import decimal, number, short_decimal
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.formats.delimited import TextFile
from mdaf.data.reading.log_files import expanded
from mdaf.data.reading.rows import Rows, described
from mdaf.data.store.cell_rows import METHODS, Numeric
from mdaf.data.store.vocabulary import check_min_count
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.streams import draws, stream_seed
from mdaf.terminal.progress import Progress, between

PROFILE = (
    "cms_segid", "cms_group_id", "gender", "age_level", "pvalue_level", "shopping_level", "occupation", "city_level",
)  # fmt: skip
AD = ("category", "campaign", "customer", "brand", "price")
STATIC = ("user", *PROFILE, "item", *AD, "position")
BEHAVIOURS = ("pv", "cart", "fav", "buy")

_IMPRESSIONS = {
    "user": "user", "time_stamp": "time", "adgroup_id": "item", "pid": "position", "nonclk": "skipped", "clk": "label",
}  # fmt: skip
_ADS = {
    "adgroup_id": "item", "cate_id": "category", "campaign_id": "campaign", "customer": "customer", "brand": "brand",
    "price": "price",
}  # fmt: skip
_USERS = {
    "userid": "user", "cms_segid": "cms_segid", "cms_group_id": "cms_group_id", "final_gender_code": "gender",
    "age_level": "age_level", "pvalue_level": "pvalue_level", "shopping_level": "shopping_level",
    "occupation": "occupation", "new_user_class_level": "city_level",
}  # fmt: skip
_BEHAVIOUR = {"user": "user", "time_stamp": "time", "btag": "behaviour", "cate": "category", "brand": "brand"}
FILES = {
    "raw_sample.csv": _IMPRESSIONS,
    "ad_feature.csv": _ADS,
    "user_profile.csv": _USERS,
    "behavior_log.csv": _BEHAVIOUR,
}
OPTIONAL = "behavior_log.csv"


DOUBLINGS = "doublings"  # a price is a bucket, two for each doubling, whose edges are fixed
PRICES = (DOUBLINGS, *METHODS)


def price_cell(method: str) -> pl.Expr:
    """The cell of a price, of a column of text; ``method`` is one of ``PRICES``."""
    if method != DOUBLINGS:
        return short_decimal("price")
    return (decimal("price").clip(0.01).log(2) * 2).floor().cast(pl.Int64)


def price_rules(method: str) -> dict[str, Numeric]:
    """How prices become rows of their table, if they are numbers."""
    return {} if method == DOUBLINGS else {"price": Numeric(method)}


@dataclass(frozen=True)
class TaobaoAd:
    """The source and its settings. ``conf/data/taobao_ad.yaml`` describes each setting."""

    path: str | None
    length: int
    utc_offset_hours: float
    behaviour_start: str
    period_start: str
    test_start: str
    period_end: str
    validation_share: float
    min_count: Mapping[str, int]
    max_bad_fraction: float
    memory_gb: float
    seed: int
    price: str = DOUBLINGS

    name = "taobao_ad"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, max_bad_fraction=0, memory_gb=0, seed=0)
        if not 0 < self.validation_share < 1:
            raise DataError(f"data.validation_share={self.validation_share}: expected a number between 0 and 1")
        refuse_others("price", self.price, PRICES)
        check_min_count(self.min_count, (*STATIC, *MOMENTS, "behaviour"))
        self._times()

    def _times(self) -> list[int]:
        names = ("behaviour_start", "period_start", "test_start", "period_end")
        return split_times(self, *names)

    @cached_property
    def _files(self) -> dict[str, TextFile]:
        if self.path is None:
            raise DataError(
                f"data.path is not set: expected the folder of {', '.join(FILES)}; give it as data.path=..."
            )
        folder = expanded(self.path, "data.path")
        if not os.path.isdir(folder):
            raise DataError(f"data.path={self.path} is not a folder; expected the folder of {', '.join(FILES)}")
        found = {name: columns for name, columns in FILES.items() if os.path.isfile(folder / name)}
        absent = [name for name in FILES if name not in found and name != OPTIONAL]
        if absent:
            raise DataError(f"data.path={self.path} has no {absent[0]}; expected the folder of {', '.join(FILES)}")
        return {
            name: TextFile(folder / name, tuple(columns), f"columns {','.join(columns)} with a header", header=True)
            for name, columns in found.items()
        }

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """The settings that change the store, and the hashes of the files that exist."""
        return {"settings": settings_of(self), "inputs": hashes.of([text.path for text in self._files.values()])}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads the files and writes their store. Raises DataError for another format and for too many bad rows."""
        for text in self._files.values():
            text.check()
        behaviours = self._files.get(OPTIONAL)
        *_, test, _ = self._times()
        periods = Periods(test, test, self.utc_offset_hours)
        events = ("category", "brand", "behaviour") if behaviours else ("item", "category", "brand")
        layout = Layout(events, (*STATIC, *MOMENTS), self.length, cells=price_rules(self.price))
        with writer.workspace() as folder:
            log = RawLog(folder, layout, ByTime(periods))
            defects = self._read_impressions(log, periods, between(progress, 0.0, 0.2 if behaviours else 0.5))
            if behaviours:
                defects += self._read_behaviours(log, behaviours, between(progress, 0.2, 0.5))
            return write_impressions(
                writer,
                log,
                folder,
                min_count=self.min_count,
                memory_gb=self.memory_gb,
                defects=defects,
                progress=between(progress, 0.5, 1.0),
            )

    def new_rows(self) -> RowFormat:
        """Rows with the columns user, item, position and time (unix seconds); events as the store has them.

        The fields of ads and profiles are known of items and users; for new ones they may be columns.
        """
        own = described_fields()
        rows = {**numbers("user", "item", "time"), **words({"position": "position"}), **described_cells(self.price)}
        event_own = {name: own[name] for name in ("category", "brand")}
        of_events = {name: rows[name] for name in ("user", "item", "time", "category", "brand")}
        return RowFormat(
            rows=rows,
            events={**of_events, **words({"behaviour": "behaviour"})},
            own=own,
            event_own=event_own,
            utc_offset_hours=self.utc_offset_hours,
            label="label",
        )

    def _read_impressions(self, log: RawLog, periods: Periods, progress: Progress) -> Defects:
        text = self._files["raw_sample.csv"]
        ads, bad_ads = self._properties("ad_feature.csv", "item")
        users, bad_users = self._properties("user_profile.csv", "user")
        _, start, _, stop = self._times()
        defects = Defects()
        for rows, found, share in _impressions(text, (start, stop), block_bytes(self.memory_gb)):
            progress("reading impressions", share)
            known = rows.join(ads, on="item", how="left", maintain_order="left")
            known = known.join(users, on="user", how="left", maintain_order="left")
            lacking = {"ad without features": "price", "user without a profile": "cms_segid"}
            defects += found + Defects(incomplete={k: int(known[c].is_null().sum()) for k, c in lacking.items()})
            log.add_samples(known.with_columns(*periods.moments(), split=self._split(known, periods)))
            if OPTIONAL not in self._files:
                log.add_events(known.filter(pl.col("label") == 1).select("user", "time", *log.layout.events))
        defects.refuse_if_too_many(str(text.path), self.max_bad_fraction)
        return defects + bad_ads + bad_users

    def _split(self, rows: pl.DataFrame, periods: Periods) -> pl.Series:
        """The split of each row: 0 for training; on the last day 1 for users of validation, and 2 for all others."""
        hashed = draws(stream_seed(self.seed, "split"), rows["user"].to_numpy().astype(np.uint64))
        validates = hashed / np.float64(2**64) < self.validation_share
        late = (rows["time"] >= periods.test).to_numpy()
        return pl.Series(np.where(late, np.where(validates, 1, 2), 0).astype(np.int8))

    def _read_behaviours(self, log: RawLog, text: TextFile, progress: Progress) -> Defects:
        start, *_, stop = self._times()
        defects = Defects()
        for rows, found, share in _behaviours(text, (start, stop), block_bytes(self.memory_gb)):
            progress("reading behaviours", share)
            log.add_events(rows)
            defects += found
        defects.refuse_if_too_many(str(text.path), self.max_bad_fraction)
        return defects

    def _properties(self, name: str, key: str) -> tuple[pl.DataFrame, Defects]:
        """The rows of a smaller file as numbers, null if missing, only the first of each key; and its defects."""
        text = self._files[name]
        fields = {FILES[name][column]: column for column in text.columns}
        typed = {field: number(field) for field in fields} | {"price": price_cell(self.price)}
        others = [field for field in fields if field != key]
        rows = Rows(text, fields, typed, needed=[key], numbers=[key], optional=others)
        return described(rows, key, self.max_bad_fraction, block_bytes(self.memory_gb))


def described_fields() -> dict[str, Own]:
    """The fields of ads and users, which are described once for all times."""
    return {name: Own("item", "always") for name in AD} | {name: Own("user", "always") for name in PROFILE}


def described_cells(price: str) -> dict[str, Cell]:
    """Their cells in new rows, where any of them may be absent; ``price`` as in ``price_cell``."""
    cells = numbers(*AD, *PROFILE, optional=(*AD, *PROFILE))
    return cells | {"price": Cell("price", price_cell(price), needed=False)}


def _impressions(text: TextFile, period: tuple[int, int], size: int) -> Iterator[tuple[pl.DataFrame, Defects, float]]:
    """Usable impressions in blocks, each with its defects and the share of the file that is read so far."""
    fields = tuple(_IMPRESSIONS.values())
    numbers = ("user", "time", "item", "skipped", "label")
    either = (pl.col("label") + pl.col("skipped") == 1) & pl.col("label").is_in([0, 1])
    rows = Rows(
        text,
        columns={field: column for column, field in _IMPRESSIONS.items()},
        typed={name: number(name) for name in numbers},
        needed=fields,
        numbers=numbers,
        kinds={"both or neither clicked": ~either, **_outside(period)},
    )
    for lines in text.frames(size):
        usable, defects = rows.usable(lines)
        yield usable.with_columns(pl.col("label").cast(pl.UInt8)).drop("skipped"), defects, lines.share


def _behaviours(text: TextFile, period: tuple[int, int], size: int) -> Iterator[tuple[pl.DataFrame, Defects, float]]:
    """Usable behaviours in blocks, each with its defects and the share of the file that is read so far.

    A row that equals another one is kept. Rows name no item, so it may concern another item of the same category and
    brand.
    """
    known = pl.when(pl.col("behaviour").is_in(BEHAVIOURS)).then(pl.col("behaviour"))
    numbers = {name: number(name) for name in ("user", "time", "category", "brand")}
    rows = Rows(
        text,
        columns={field: column for column, field in _BEHAVIOUR.items()},
        typed={**numbers, "behaviour": known.cast(pl.Enum(BEHAVIOURS))},
        needed=("user", "time", "behaviour", "category"),
        numbers=("user", "time"),
        kinds={"unknown behaviour": pl.col("behaviour").is_null(), **_outside(period)},
        optional=("category", "brand"),
    )
    for lines in text.frames(size):
        yield *rows.usable(lines), lines.share


def _outside(period: Sequence[int]) -> dict[str, pl.Expr]:
    return {"time out of period": ~pl.col("time").is_between(period[0], period[1], closed="left")}
