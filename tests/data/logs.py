"""Small logs, and the sources that read them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mdaf.data.synthetic import Synthetic
from mdaf.data.user_behavior import UserBehavior

SHARED = Path(__file__).parents[3] / "shared/data"
REAL_LOG = Path(os.environ.get("USER_BEHAVIOR_CSV", SHARED / "taobao_user_behavior/UserBehavior.csv"))
needs_real_log = pytest.mark.skipif(
    not REAL_LOG.is_file(), reason=f"the real log is not at {REAL_LOG}; USER_BEHAVIOR_CSV says where it is"
)

DAY = 86_400
START = 1_511_539_200  # 2017-11-25 00:00 at UTC+8
VALIDATION = START + 7 * DAY
TEST = START + 8 * DAY
END = START + 9 * DAY

Row = tuple[int, int, int, str, int]  # user, item, category, behaviour, time

# A user with a view in every split, and one more before each: no split is empty.
ANCHOR: list[Row] = [(900, 90 + n, 9, "pv", time) for n, time in enumerate((START, START + 5, VALIDATION, TEST))]
# Another one, who views other things on the same days: there is something to draw negatives from.
OTHER: list[Row] = [(901, 95, 9, "pv", time + 60) for time in (START, VALIDATION, TEST)]


def write_rows(path: Path, rows: Iterable[Row | str]) -> Path:
    """A log of these rows; a string is a line as it stands."""
    lines = (row if isinstance(row, str) else ",".join(map(str, row)) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def user_behavior(path: Path | str | None, **settings: Any) -> UserBehavior:
    """The source at the defaults of the config, but for ``settings`` and no minimal count."""
    source = UserBehavior(
        path=None if path is None else str(path),
        task="next_click",
        length=50,
        negatives=4,
        utc_offset_hours=8,
        period_start="2017-11-25",
        period_end="2017-12-04",
        validation_start="2017-12-02",
        test_start="2017-12-03",
        min_count={},
        max_bad_fraction=0.05,
        memory_gb=1,
        seed=0,
    )
    return replace(source, **settings)


def synthetic(**settings: Any) -> Synthetic:
    """A tiny synthetic log, but for ``settings``."""
    source = Synthetic(
        length=10,
        users=60,
        items=80,
        categories=8,
        views=600,
        views_before=0,
        days_before=0,
        train_rows=700,
        validation_rows=200,
        test_rows=200,
        click_rate=0.25,
        start="2017-11-25",
        train_days=7,
        utc_offset_hours=8,
        min_count={"item": 3},
        memory_gb=1,
        seed=0,
    )
    return replace(source, **settings)
