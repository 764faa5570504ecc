from __future__ import annotations

import numpy as np
import pytest

from mdaf.data.reading.local_time import local_hours, local_weekdays, unix_seconds
from mdaf.errors import DataError


def test_midnight_at_utc_plus_8_is_sixteen_hours_into_the_utc_day_before() -> None:
    assert unix_seconds("2017-11-25", "start", 8) == 1_511_539_200


def test_hour_and_weekday_are_those_of_the_users_clock() -> None:
    saturday = np.array([unix_seconds("2017-12-02T23:30:00", "start", 8)])
    assert local_hours(saturday, 8).tolist() == [23]
    assert local_weekdays(saturday, 8).tolist() == [5]
    assert local_weekdays(saturday + 3600, 8).tolist() == [6]


@pytest.mark.parametrize("text", ["2017-13-01", "tomorrow", "2017-12-02T00:00:00+08:00"])
def test_what_is_no_local_date_is_refused_by_its_key(text: str) -> None:
    with pytest.raises(DataError, match=r"data\.test_start"):
        unix_seconds(text, "test_start", 8)
