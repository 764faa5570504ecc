"""Times as Python's ``strptime`` reads them, in every unit and with every offset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdaf.data.reading.times import check_time_format, likelier_unit, unix_times
from mdaf.errors import DataError

PATTERNS = (
    "%y%m%d%H",
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y%m%d%H%M%S",
    "%d/%b/%Y:%H:%M:%S %z",
    "%Y-%m-%dT%H:%M:%S%z",
    "%m/%d/%y %I:%M %p",
    "%A, %B %d, %Y %H%%",
    "%j of %Y, %H h",
    "%c",
    "%x %X",
    "%G-W%V-%u %H:%M:%S",
    "%Y week %W, day %w, %Hh",
)


def read(text: list[str], time_format: str, utc_offset_hours: float = 0) -> list[int | None]:
    return pl.DataFrame({"t": text}).select(unix_times("t", time_format, utc_offset_hours)).to_series().to_list()


def python(text: str, time_format: str) -> int | None:
    try:
        time = datetime.strptime(text.strip(), time_format)
    except ValueError:
        return None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() // 1)


@settings(max_examples=25, deadline=None)
@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2067, 12, 30)).map(lambda time: time.replace(second=time.second // 2)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(PATTERNS),
    st.text("0123456789-:T ", max_size=3),
)
def test_a_pattern_is_read_as_python_reads_it(time: datetime, offset: int, pattern: str, junk: str) -> None:
    written = time.replace(tzinfo=timezone(timedelta(minutes=offset))).strftime(pattern)
    every = [written, f"{written}{junk}", written[: len(written) // 2] + junk, f" {written} "]
    # Years of fewer digits, and nanoseconds, are read too. Of too few digits Python makes a time; here they are none.
    if pattern in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y%m%d%H%M%S", "%y%m%d%H"):
        every = every[::3]
    assert read(every, pattern) == [python(text, pattern) for text in every]


@pytest.mark.parametrize(
    ("text", "time_format", "expected"),
    [
        ("2023-11-15T08:58:31Z", "%Y-%m-%dT%H:%M:%S%z", 1_700_038_711),
        ("2023-11-15T08:58:31+0800", "%Y-%m-%dT%H:%M:%S%z", 1_700_009_911),
        ("2023-11-15T08:58:31+08:00", "%Y-%m-%dT%H:%M:%S%z", 1_700_009_911),
        ("2023-11-15T08:58:31+08", "%Y-%m-%dT%H:%M:%S%z", 1_700_009_911),
        ("2023-11-15T08:58:31.999999999-03:30", "%Y-%m-%dT%H:%M:%S.%f%z", 1_700_051_311),
        ("2023-W46-3 08:58", "%G-W%V-%u %H:%M", 1_700_009_880),
        ("2023-11-15T08:58:31", "%Y-%m-%dT%H:%M:%S", 1_700_009_911),  # local time
        ("23111500.0", "%y%m%d%H", 1_699_977_600),  # a number that was kept as a decimal
        ("2023-02-30", "%Y-%m-%d", None),
        ("1700009911.7", "seconds", 1_700_009_911),
        ("1700009911999", "milliseconds", 1_700_009_911),
        ("1700009911999999", "microseconds", 1_700_009_911),
        ("1.7000099119e+18", "nanoseconds", 1_700_009_911),
    ],
)
def test_an_offset_means_an_instant_and_its_absence_local_time(text: str, time_format: str, expected: int) -> None:
    assert read([text], time_format, utc_offset_hours=8) == [expected]


def test_offsets_that_change_within_a_log_are_read_each_as_it_is() -> None:
    text = ["2023-03-26T01:59:59+01:00", "2023-03-26T03:00:00+02:00", "2023-03-26T01:00:01Z"]
    assert read(text, "%Y-%m-%dT%H:%M:%S%z") == [1_679_792_399, 1_679_792_400, 1_679_792_401]


@pytest.mark.parametrize("given_unit", ["seconds", "milliseconds", "microseconds", "nanoseconds"])
def test_times_of_another_unit_are_recognized(given_unit: str) -> None:
    parts = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
    for unit, each in parts.items():
        assert likelier_unit(1_700_009_911 * each, given_unit) == (None if unit == given_unit else unit)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("%H:%M", "no year"),
        ("%Y-%m-%d %Q", "%Q is not read"),
        ("sec", "no ye"),
        ("%Y %W", "a year, a week and its day"),
        ("%G-%V", "a year, a week and its day"),
    ],
)
def test_a_pattern_that_cannot_be_read_is_refused_before_the_log_is(wrong: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_time_format(wrong)
