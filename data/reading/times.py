"""Reads times of a log: numbers since 1970 in some unit, or text in a pattern, as Python's ``strptime`` reads it.

polars reads patterns in another way: it refuses an hour without minutes, reads %f as nanoseconds, and knows only one
form of offsets. So this module converts a pattern to a regular expression, and adds up the parts that it finds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import polars as pl

from mdaf.data.reading.cells import decimal
from mdaf.data.reading.local_time import too_far
from mdaf.errors import DataError

UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED = "|".join(("january|february|march|april|may|june|july|august|september|october|november|december", *_MONTHS))
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday|mon|tue|wed|thu|fri|sat|sun"
_PARTS = {
    "Y": "[0-9]{4}",
    "y": "[0-9]{2}",
    "m": "1[0-2]|0[1-9]|[1-9]",
    "b": _NAMED,
    "d": "3[0-1]|[1-2][0-9]|0[1-9]|[1-9]| [1-9]",
    "j": "36[0-6]|3[0-5][0-9]|[1-2][0-9][0-9]|0[1-9][0-9]|00[1-9]|[1-9][0-9]|0[1-9]|[1-9]",
    "H": "2[0-3]|[0-1][0-9]|[0-9]",
    "I": "1[0-2]|0[1-9]|[1-9]",
    "p": "am|pm",
    "M": "[0-5][0-9]|[0-9]",
    "S": "[0-5][0-9]|[0-9]",
    "f": "[0-9]{1,9}",
    "z": r"[+-][0-9]{2}(?::?[0-5][0-9](?::?[0-5][0-9](?:\.[0-9]{1,6})?)?)?|z",
    "Z": "utc|gmt",
    "a": _DAYS,
}
_SAME = {"B": "%b", "A": "%a", "e": "%d", "D": "%m/%d/%y", "x": "%m/%d/%y", "F": "%Y-%m-%d", "T": "%H:%M:%S",
         "X": "%H:%M:%S", "R": "%H:%M", "c": "%a %b %d %H:%M:%S %Y"}  # fmt: skip
_PLAIN = {"Y", "m", "d", "H", "M", "S"}  # for these, polars agrees with Python and is faster
_WEEKS = re.compile("%[GVuUWw]")  # numbers of weeks and their days, which Python reads: slower, and seldom needed
_ANY_DAY = datetime(2021, 3, 4, 5, 6, 7)
_PLAUSIBLE = (datetime(1980, 1, 1, tzinfo=UTC).timestamp(), datetime(2100, 1, 1, tzinfo=UTC).timestamp())


def check_time_format(time_format: str) -> None:
    """Raises DataError unless the format is a unit, or a pattern that contains a full date."""
    if time_format in UNITS:
        return
    if not _WEEKS.search(time_format):
        _directives(time_format)
    elif (read := _by_python(_ANY_DAY.strftime(time_format), time_format)) is None or read.date() != _ANY_DAY.date():
        raise DataError(
            f"data.time_format={time_format} does not say a year, a week and its day; expected a pattern such as "
            '"%G-W%V-%u"'
        )


def unix_times(name: str, time_format: str, utc_offset_hours: float) -> pl.Expr:
    """A column of text as unix seconds; null if a text is not a time.

    A text without an offset to UTC is local time, at ``utc_offset_hours``.
    """
    if time_format in UNITS:
        return (decimal(name) / UNITS[time_format]).floor().cast(pl.Int64, strict=False).alias(name)
    ahead = int(utc_offset_hours * 3600)
    return (
        pl.col(name)
        .map_batches(lambda text: _read(text, time_format, ahead), return_dtype=pl.Int64, is_elementwise=True)
        .alias(name)
    )


def times_of(name: str, kind: pl.DataType | None, time_format: str, utc_offset_hours: float, where: str) -> pl.Expr:
    """As ``unix_times``, of the text of a column of a Parquet file or a data frame.

    ``kind``   the column's type; None: text. A date or a time needs no format: its text is seconds. Without a time zone
               it is local time.
    ``where``  the file and the column, for the DataError if the type cannot hold a time.
    """
    if isinstance(kind, pl.Float32):
        raise DataError(f"{where} holds {kind}, which rounds times to minutes; write it as whole numbers")
    if kind is None or not kind.is_temporal():
        return unix_times(name, time_format, utc_offset_hours)
    local = getattr(kind, "time_zone", None) is None  # with a time zone, the time is in UTC
    return unix_times(name, "seconds", 0) - (int(utc_offset_hours * 3600) if local else 0)


def span(first: int, last: int, utc_offset_hours: float = 0) -> str:
    """Two times in unix seconds as the text ``from ... to ...``, in local time."""

    def shown(time: int) -> str:
        try:
            local = datetime.fromtimestamp(time + int(utc_offset_hours * 3600), UTC)
        except (ValueError, OverflowError, OSError):
            return f"second {time:,}"
        return local.strftime("%Y-%m-%d %H:%M")

    return f"from {shown(first)} to {shown(last)}"


def likelier_unit(value: float, time_format: str) -> str | None:
    """The unit in which a number is a time between 1980 and 2100; None if it is one in the given unit."""
    low, high = _PLAUSIBLE
    if time_format not in UNITS or low <= value / UNITS[time_format] < high:
        return None
    return next((unit for unit, parts in UNITS.items() if low <= value / parts < high), None)


def out_of_range(name: str) -> pl.Expr:
    """Whether a time, in unix seconds, is farther from 1970 than a log may contain."""
    return too_far(pl.col(name))


def _directives(time_format: str) -> list[str]:
    """Splits a pattern into literal text and directives of ``_PARTS``. Raises DataError if it is not valid."""
    pattern = re.sub("%(.)", lambda found: _SAME.get(found[1], found[0]), time_format.strip(), flags=re.DOTALL)
    pieces = re.findall(r"%.|[^%]+|%", pattern, flags=re.DOTALL)
    found = [piece[1:] for piece in pieces if piece[0] == "%" and piece != "%%"]
    unknown = [letter for letter in found if letter not in _PARTS]
    if unknown:
        known = " ".join(f"%{letter}" for letter in (*_PARTS, *_SAME))
        raise DataError(f"data.time_format={time_format}: %{unknown[0]} is not read; expected some of {known}")
    day = {"j"} & set(found) or ({"d"} & set(found) and {"m", "b"} & set(found))
    if not ({"Y", "y"} & set(found) and day):
        units = ", ".join(UNITS)
        raise DataError(
            f"data.time_format={time_format} says no year, month and day; expected {units}, or a pattern such as "
            '"%Y-%m-%d %H:%M:%S"'
        )
    if doubled := [letter for letter in found if found.count(letter) > 1]:
        raise DataError(f"data.time_format={time_format} says %{doubled[0]} twice")
    return pieces


def _read(text: pl.Series, time_format: str, ahead: int) -> pl.Series:
    """The unix seconds of texts in a pattern. ``ahead`` is the offset of local time to UTC in seconds."""
    if _WEEKS.search(time_format):
        return _read_by_python(text, time_format, ahead)
    pieces = _directives(time_format)
    text = text.str.strip_chars().str.replace(r"^([0-9]+)\.0*$", "$1")  # a number that was stored as a decimal
    letters = [piece[1:] for piece in pieces if piece[0] == "%" and piece != "%%"]
    if set(letters) == _PLAIN:
        return text.str.to_datetime(time_format, strict=False, time_unit="us").dt.epoch("s") - ahead
    parts = text.str.extract_groups(_expression(pieces)).struct.unnest()
    return parts.select(_seconds(set(letters), ahead)).to_series()


def _read_by_python(text: pl.Series, time_format: str, ahead: int) -> pl.Series:
    """As ``_read``, text by text."""
    distinct = text.drop_nulls().unique()
    times = (_by_python(each.strip(), time_format) for each in distinct)
    zone = timezone(timedelta(seconds=ahead))
    instants = (time and (time if time.tzinfo else time.replace(tzinfo=zone)) for time in times)
    seconds = [None if time is None else int(time.timestamp() // 1) for time in instants]
    return text.replace_strict(distinct, pl.Series(seconds, dtype=pl.Int64), default=None, return_dtype=pl.Int64)


def _by_python(text: str, time_format: str) -> datetime | None:
    try:
        return datetime.strptime(text, time_format)
    except ValueError:
        return None


def _expression(pieces: list[str]) -> str:
    """The regular expression of a pattern, with a group for each directive that affects the time."""
    written = ""
    for piece in pieces:
        if piece == "%%" or piece[0] != "%":
            literal = "%" if piece == "%%" else piece
            written += re.sub(r"(?:\\\s|\s)+", r"\\s+", re.escape(literal))
        else:
            group = f"?P<{piece[1]}>" if piece[1] not in "aZ" else "?:"
            written += f"({group}{_PARTS[piece[1]]})"
    return f"(?i)^(?:{written})$"


def _seconds(letters: set[str], ahead: int) -> pl.Expr:
    """Unix seconds, from columns with the text of each directive."""

    def part(letter: str, absent: int = 0) -> pl.Expr:
        return pl.col(letter).str.strip_chars().cast(pl.Int64, strict=False) if letter in letters else pl.lit(absent)

    year = part("Y") if "Y" in letters else part("y") + pl.when(part("y") < 69).then(2000).otherwise(1900)
    month = part("m", 1)
    if "b" in letters:
        numbers = {name: place + 1 for place, name in enumerate(_MONTHS)}
        month = pl.col("b").str.to_lowercase().str.head(3).replace_strict(numbers, default=None, return_dtype=pl.Int64)
    day = pl.lit(1) if "j" in letters else part("d", 1)
    month = pl.lit(1) if "j" in letters else month
    # The date is converted from text, so that an impossible day, such as February 30, becomes null.
    written = [year.cast(pl.String).str.zfill(4), *(n.cast(pl.String).str.zfill(2) for n in (month, day))]
    date = pl.concat_str(written, separator="-").str.to_date("%Y-%m-%d", strict=False)
    days = date.cast(pl.Int32).cast(pl.Int64)
    if "j" in letters:
        days = days + part("j") - 1
        later = pl.from_epoch(days, time_unit="d").dt.year() != year
        days = pl.when(~later).then(days)
    hour = part("H")
    if "I" in letters and "H" not in letters:
        after_noon = pl.col("p").str.to_lowercase() == "pm" if "p" in letters else pl.lit(False)
        hour = part("I") % 12 + pl.when(after_noon).then(12).otherwise(0)
    local = days * 86_400 + hour * 3600 + part("M") * 60 + part("S")
    if "z" in letters:
        return local - _offset(pl.col("z"))
    return local - (0 if "Z" in letters else ahead)


def _offset(text: pl.Expr) -> pl.Expr:
    """The offset to UTC in seconds, from a text such as Z, +08, +0800, +08:00 or +08:00:30."""
    digits = text.str.replace_all(":", "", literal=True).str.replace(r"\..*", "")
    two = [digits.str.slice(start, 2).cast(pl.Int64, strict=False).fill_null(0) for start in (1, 3, 5)]
    size = two[0] * 3600 + two[1] * 60 + two[2]
    return pl.when(digits.str.starts_with("-")).then(-size).otherwise(size)
