"""Rows of all kinds: a store that counts the bad ones or one clear line, and never something half written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import strategies as st

from mdaf.data.preparing.prepare import prepare
from mdaf.data.preparing.source import Source
from tests.data import test_event_log as event_logs
from tests.data.faults.test_damaged_files import LENIENT, attempt
from tests.data.logs import ANCHOR, OTHER, START, Row, user_behavior, write_rows
from tests.fuzz import fuzz, parts

pytestmark = pytest.mark.timeout(3000)

NUMBERS = st.one_of(
    st.integers(0, 99),
    st.integers(),
    st.sampled_from([2**31, 2**63, 2**64, -(2**63), 10**40, 0, -1]),
    st.floats(),
)
TIMES = st.one_of(st.integers(START - 86_400, START + 10 * 86_400), NUMBERS)
CELLS = st.one_of(
    NUMBERS.map(str), st.sampled_from(["", "pv", "buy", "PV", "null", "NaN", '"', "''", "\\", "0x1f"]), st.text()
)
ROWS = st.one_of(
    st.tuples(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["pv", "buy", "cart", "fav", "x"]), TIMES),
    st.lists(CELLS, max_size=8).map(",".join),
    st.text(),
    st.sampled_from(
        ["", ",,,,", '"', "\r", "1,2,3,pv", "1,2,3,pv,1,1", "user,item,category,behaviour,time", "\ufeff1,2,3,pv,1"]
    ),
)
LINES = st.lists(ROWS, min_size=1, max_size=12)


def _user_behavior(folder: Path, rows: list[Row | str]) -> Source:
    return user_behavior(write_rows(folder / "log.csv", [*ANCHOR, *rows, *OTHER]), **LENIENT)


def _event_log(folder: Path, rows: list[Row | str]) -> Source:
    path = event_logs.write(folder, name="log.csv")
    lines = (row if isinstance(row, str) else ",".join(map(str, row)) for row in rows)
    with path.open("a", encoding="utf-8", errors="surrogatepass") as file:
        file.writelines(f"{line}\n" for line in lines)
    columns = {**event_logs.COLUMNS, "category": "kind", "label": "clicked"}
    return event_logs.event_log(path, columns=columns, **LENIENT)


@parts
@pytest.mark.parametrize("make", [_user_behavior, _event_log], ids=["user_behavior", "event_log"])
def test_any_rows_give_a_whole_store_or_one_line_and_nothing(part: int, make: object) -> None:
    def check(rows: list[Row | str]) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source = make(folder, rows)  # type: ignore[operator]
            store, told = attempt(source, folder / "stores")
            left = list((folder / "stores").iterdir()) if (folder / "stores").exists() else []
            if store is None:
                assert told
                assert "\n" not in told
                assert left == []
            else:
                assert len(left) == 1
                assert prepare(source, folder / "stores").data_hash == store.data_hash

    fuzz(LINES, check, part, few=8)
