"""Taobao's UserBehavior.csv: user, item, category, behaviour, unix seconds; no header, no impressions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from data.click_log import TABLES, Periods
from data.defects import Defects
from data.errors import DataError
from data.local_time import unix_seconds
from data.next_click import Protocol, write_next_click
from data.source import Contents, Progress, content_hash, refuse_below, required_file
from data.vocabulary import check_min_count
from data.writer import StoreWriter

COLUMNS = ("user", "item", "category", "behaviour", "time")
NUMBERS = ("user", "item", "category", "time")
BEHAVIOURS = ("pv", "cart", "fav", "buy")
_EXPECTED = "lines of user,item,category,behaviour,unix seconds, without a header"
_HEAD = 1 << 16  # bytes that tell what kind of file it is
_MAGIC = {
    b"\x1f\x8b": "gzip-compressed (decompress it first)",
    b"PK\x03\x04": "a zip archive (unpack it first)",
    b"BZh": "bzip2-compressed (decompress it first)",
    b"\x28\xb5\x2f\xfd": "zstd-compressed (decompress it first)",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "text in UTF-16 (save it as UTF-8)",
    b"\xfe\xff": "text in UTF-16 (save it as UTF-8)",
}


@dataclass(frozen=True)
class UserBehavior:
    """The log and the protocol by which it becomes samples; see ``conf/data/user_behavior.yaml`` for each setting."""

    path: str | None
    length: int
    negatives: int
    utc_offset_hours: float
    period_start: str
    period_end: str
    validation_start: str
    test_start: str
    min_count: Mapping[str, int]
    max_bad_fraction: float
    seed: int

    name = "user_behavior"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, negatives=1, max_bad_fraction=0, seed=0)
        check_min_count(self.min_count, TABLES)
        names = ("period_start", "validation_start", "test_start", "period_end")
        times = [unix_seconds(getattr(self, name), name, self.utc_offset_hours) for name in names]
        for earlier, later, before, after in zip(names, names[1:], times, times[1:], strict=False):
            if before >= after:
                raise DataError(
                    f"data.{later}={getattr(self, later)} must lie after data.{earlier}={getattr(self, earlier)}"
                )

    @cached_property
    def _file(self) -> Path:
        return required_file(self.path, "data.path", f"Taobao's UserBehavior.csv ({_EXPECTED})")

    def fingerprint(self) -> dict[str, Any]:
        """Settings that change the store, and the file's hash; where the file lies is not among them."""
        without = ("path", "max_bad_fraction")
        settings = {key: value for key, value in asdict(self).items() if key not in without}
        size = self._file.stat().st_size
        return {"settings": settings, "inputs": [{"bytes": size, "blake2b": content_hash(self._file)}]}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads, cleans and samples the log; DataError if it is not such a file or too much of it is bad."""
        progress("reading", 0.0)
        refuse_other_formats(self._file)
        period = self._unix("period_start"), self._unix("period_end")
        events, defects = read_log(self._file, period)
        defects.refuse_if_too_many(str(self.path), self.max_bad_fraction)
        protocol = Protocol(
            periods=Periods(self._unix("validation_start"), self._unix("test_start"), self.utc_offset_hours),
            length=self.length,
            negatives=self.negatives,
            positive="pv",
            min_count=self.min_count,
            seed=self.seed,
        )
        return write_next_click(writer, events, defects, protocol, progress)

    def _unix(self, key: str) -> int:
        return unix_seconds(getattr(self, key), key, self.utc_offset_hours)


def refuse_other_formats(path: Path) -> None:
    """DataError for what cannot be such a log, told by the beginning of the file."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip():
        raise DataError(f"{path} is empty; expected {_EXPECTED}")
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {kind}; expected plain text, {_EXPECTED}")
    if head.count(0) > len(head) // 100:
        raise DataError(f"{path} is binary or in another encoding than UTF-8; expected plain text, {_EXPECTED}")
    lines = [line for line in head.splitlines() if line.strip()]
    widths = sorted(line.count(b",") + 1 for line in lines)
    typical = widths[len(widths) // 2]
    if typical != len(COLUMNS):
        shown = re.sub(r"[^\x20-\x7e]", "?", lines[0][:60].decode("latin-1"))
        raise DataError(
            f"{path} has {typical} comma-separated column{'s' * (typical > 1)}; expected {len(COLUMNS)}: "
            f"{_EXPECTED}; its first line begins {shown!r}"
        )


def read_log(path: Path, period: tuple[int, int]) -> tuple[pl.DataFrame, Defects]:
    """The usable rows, columns ``COLUMNS``, in the file's order, and what was wrong with the others.

    ``period``  unix seconds: the first that counts and the first that no longer does.
    """
    # One column of whole lines: then a line that is cut, too long or garbled is a row like any other, and counted.
    lines = pl.scan_csv(
        path,
        has_header=False,
        schema={"line": pl.String},
        separator="\x1f",
        quote_char=None,
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
    )
    width = len(COLUMNS)
    parts = lines.select(pl.col("line").str.split_exact(",", width).struct.rename_fields([*COLUMNS, "more"])).unnest(
        "line"
    )
    known = pl.col("behaviour").is_in(BEHAVIOURS)
    typed = parts.select(
        *(pl.col(name).cast(pl.Int64, strict=False) for name in NUMBERS),
        pl.when(known).then(pl.col("behaviour")).cast(pl.Enum(BEHAVIOURS)).alias("behaviour"),
        kind=_defect(known),
    ).with_columns(
        kind=pl.when(pl.col("kind").is_null() & ~pl.col("time").is_between(*period, closed="left"))
        .then(pl.lit("time out of period"))
        .otherwise(pl.col("kind"))
    )
    try:
        rows = typed.collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}; expected {_EXPECTED}") from None
    kinds = rows["kind"].drop_nulls().value_counts(sort=True)
    dropped = dict(kinds.iter_rows())
    events = rows.filter(pl.col("kind").is_null()).select(COLUMNS)
    unique = events.unique(maintain_order=True)
    dropped["repeated row"] = len(events) - len(unique)
    events, corrected = _one_category_an_item(unique)
    defects = Defects(len(rows), {k: n for k, n in dropped.items() if n}, {k: n for k, n in corrected.items() if n})
    return events, defects


def _defect(known_behaviour: pl.Expr) -> pl.Expr:
    """The first thing that is wrong with a line, or null."""
    empty = pl.any_horizontal((pl.col(name).is_null() | (pl.col(name) == "")) for name in COLUMNS)
    number = pl.all_horizontal(pl.col(name).cast(pl.Int64, strict=False).is_not_null() for name in NUMBERS)
    return (
        pl.when(pl.col("item").is_null() & (pl.col("user").fill_null("").str.strip_chars() == ""))
        .then(pl.lit("blank line"))
        .when(pl.col("more").is_not_null())
        .then(pl.lit("too many fields"))
        .when(empty)
        .then(pl.lit("cut line"))
        .when(~number)
        .then(pl.lit("not a number"))
        .when(~known_behaviour)
        .then(pl.lit("unknown behaviour"))
    )


def _one_category_an_item(events: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Gives each item the category of its earliest row (the smallest, if several are as early).

    So nothing later than a sample decides what its candidate's category is.
    """
    first = events.group_by("item").agg(
        pl.col("category").sort_by("time", "category").first().alias("first"),
        (pl.col("category").n_unique() > 1).alias("several"),
    )
    several = first.filter(pl.col("several"))
    joined = events.join(several.select("item", "first"), on="item", how="left", maintain_order="left")
    changed = (joined["first"].is_not_null() & (joined["first"] != joined["category"])).sum()
    settled = joined.with_columns(category=pl.coalesce("first", "category")).drop("first")
    return settled, {"item in two categories": int(changed)}
