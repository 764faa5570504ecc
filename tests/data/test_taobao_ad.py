from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mdaf.data.inspecting.facts import inspect
from mdaf.data.inspecting.page import write_page
from mdaf.data.preparing.checking.leakage import leakage_check
from mdaf.data.preparing.prepare import prepare
from mdaf.data.reading.defects import Defects
from mdaf.data.schema import FIRST_ID, UNKNOWN, Cells, weights_of
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import SPLITS, EventStore
from mdaf.data.taobao_ad import FILES, TaobaoAd
from mdaf.data.taobao_ad_joined import TaobaoAdJoined
from mdaf.errors import DataError
from tests.data.logs import DAY, SHARED

REAL = SHARED / "taobao_ad_sample/taobao_test_data.csv"
needs_real = pytest.mark.skipif(not REAL.is_file(), reason=f"the joined sample is not at {REAL}")

START = 1_494_000_000  # 2017-05-06 00:00 at UTC+8
TEST = START + 7 * DAY
USERS = range(1, 41)
# user, time, ad, position, not clicked, clicked: one impression a user and day, every third is clicked
IMPRESSIONS = [
    (user, START + day * DAY + 60 * user, 100 + (user + day) % 7, "430548_1007", int((user + day) % 3 > 0),
     int((user + day) % 3 == 0)) for day in range(8) for user in USERS
]  # fmt: skip
ADS = [(100 + n, 10 + n % 3, 1000 + n, 2000 + n, "NULL" if n == 0 else 3000 + n, 10.5 * n) for n in range(7)]
PROFILES = [(user, 5, 2, 1 + user % 2, 3, "" if user % 2 else 2, 3, 0, 4) for user in USERS]
BEHAVIOURS = [
    (user, START - DAY + 977 * n + user, ("pv", "cart", "fav", "buy")[n % 4], 10 + n % 4, 3000 + n % 5)
    for user in USERS for n in range(12)
]  # fmt: skip
ROWS = {
    "raw_sample.csv": IMPRESSIONS,
    "ad_feature.csv": ADS,
    "user_profile.csv": PROFILES,
    "behavior_log.csv": BEHAVIOURS,
}


def taobao_ad(path: Path | str | None, **settings: object) -> TaobaoAd:
    """The source at the defaults of the config, but for ``settings`` and no minimal count."""
    source = TaobaoAd(
        path=None if path is None else str(path),
        length=50,
        utc_offset_hours=8,
        behaviour_start="2017-04-22",
        period_start="2017-05-06",
        test_start="2017-05-13",
        period_end="2017-05-14",
        validation_share=0.5,
        min_count={},
        max_bad_fraction=0.05,
        memory_gb=1,
        seed=0,
    )
    return replace(source, **settings)  # type: ignore[arg-type]


def write(folder: Path, without: str | None = None, more: dict[str, list[str]] | None = None) -> Path:
    """The raw files in ``folder``, all but one, each with some more lines."""
    for name, rows in ROWS.items():
        if name != without:
            lines = [",".join(FILES[name]), *(",".join(map(str, row)) for row in rows), *(more or {}).get(name, [])]
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def raw(store: EventStore, table: str, codes: np.ndarray) -> list:
    values = store.vocabulary(table).tolist()
    return [None if code == UNKNOWN else values[code - FIRST_ID] for code in codes.tolist()]


def rows_of(store: EventStore, split: str) -> list[tuple]:
    samples = store.samples[split]
    columns = [raw(store, name, samples.static[name]) for name in ("user", "item", "category", "brand", "hour")]
    return list(zip(*columns, samples.time.tolist(), samples.label.tolist(), strict=True))


def expected(impression: tuple) -> tuple:
    user, time, ad, _, _, clicked = impression
    _, category, _, _, brand, _ = ADS[ad - 100]
    return user, ad, category, None if brand == "NULL" else brand, (time - START) % DAY // 3600, time, clicked


@pytest.mark.parametrize("without", [None, "behavior_log.csv"])
def test_each_impression_is_a_sample_with_the_fields_of_its_ad(tmp_path: Path, root: Path, without: str | None) -> None:
    store = prepare(taobao_ad(write(tmp_path, without)), root)
    found = [row for split in SPLITS for row in rows_of(store, split)]
    assert sorted(found, key=str) == sorted(map(expected, IMPRESSIONS), key=str)


def test_seven_days_train_and_each_user_of_the_eighth_is_in_validation_or_in_test(tmp_path: Path, root: Path) -> None:
    store = prepare(taobao_ad(write(tmp_path)), root)
    assert store.samples["train"].time.max() < TEST
    late = {split: set(store.samples[split].user.tolist()) for split in ("validation", "test")}
    assert min(store.samples[split].time.min() for split in late) >= TEST
    assert not late["validation"] & late["test"]
    assert len(late["validation"] | late["test"]) == len(USERS)
    other = prepare(taobao_ad(write(tmp_path), seed=1), root)
    assert set(other.samples["validation"].user.tolist()) != late["validation"]


@pytest.mark.parametrize("price", ["buckets", "vector"])
def test_a_price_may_be_a_number_in_buckets_of_training_or_times_a_vector(
    tmp_path: Path, root: Path, price: str
) -> None:
    store = prepare(taobao_ad(write(tmp_path), price=price), root)
    assert store.schema.cells == {"price": Cells(price)}
    costs = {code: 10.5 * n for n, code in enumerate(range(100, 107))}
    batch = DeviceStore(store, "cpu").gather("train", torch.arange(len(store.samples["train"]))[None])
    read = batch.static["price" if price == "buckets" else weights_of("price")].flatten().tolist()
    items = [store.vocabulary("item")[code - FIRST_ID] for code in store.samples["train"].static["item"]]
    by_item = dict(zip(items, read, strict=True))
    assert sorted(by_item, key=lambda item: by_item[item]) == sorted(costs, key=lambda item: costs[item])


def test_a_history_holds_the_behaviours_before_the_impression(tmp_path: Path, root: Path) -> None:
    store = prepare(taobao_ad(write(tmp_path)), root)
    for split in SPLITS:
        samples = store.samples[split]
        for n, user in enumerate(raw(store, "user", samples.static["user"])):
            history = slice(store.user_offsets[samples.user[n]], samples.end[n])
            columns = [raw(store, name, store.events[name][history]) for name in ("behaviour", "category", "brand")]
            before = [row[2:] for row in BEHAVIOURS if row[0] == user and row[1] < samples.time[n]]
            assert list(zip(*columns, strict=True)) == before


def test_without_a_behaviour_log_a_history_holds_the_earlier_clicks(tmp_path: Path, root: Path) -> None:
    store = prepare(taobao_ad(write(tmp_path, without="behavior_log.csv")), root)
    for split in SPLITS:
        samples = store.samples[split]
        for n, user in enumerate(raw(store, "user", samples.static["user"])):
            history = slice(store.user_offsets[samples.user[n]], samples.end[n])
            clicked = [row[2] for row in IMPRESSIONS if row[0] == user and row[1] < samples.time[n] and row[5]]
            assert raw(store, "item", store.events["item"][history]) == clicked


def test_bad_rows_are_counted_and_rows_that_lack_an_ad_or_a_profile_are_kept(tmp_path: Path, root: Path) -> None:
    more = {
        "raw_sample.csv": [
            f"1,{START},100", f"1,{START},100,p,1,1", f"1,{START - 1},100,p,1,0", f"77,{START},999,p,1,0",
            "x,1,2,p,0,1",
        ],
        "behavior_log.csv": [f"1,{START},view,10,3000", f"1,{START},pv,10"],
    }  # fmt: skip
    store = prepare(taobao_ad(write(tmp_path, more=more)), root)
    assert store.defects == Defects(
        len(IMPRESSIONS) + 5 + len(BEHAVIOURS) + 2,
        {
            "cut line": 1,
            "both or neither clicked": 1,
            "time out of period": 1,
            "not a number": 1,
            "unknown behaviour": 1,
        },
        {},
        {"ad without features": 1, "user without a profile": 1},
    )


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (gzip.compress(b"1,2\n" * 50, mtime=0), "gzip-compressed"), (b"a,b\n1,2\n", "has no column")],
)
def test_a_file_of_another_kind_gives_one_clear_line(
    tmp_path: Path, root: Path, name: str, content: bytes, said: str
) -> None:
    write(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        prepare(taobao_ad(tmp_path), root)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(root.iterdir())


@pytest.mark.parametrize("name", sorted(set(FILES) - {"behavior_log.csv"}))
def test_a_missing_file_is_refused_by_its_name(tmp_path: Path, root: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"has no {name}"):
        prepare(taobao_ad(write(tmp_path, without=name)), root)


def joined(path: Path, **settings: object) -> TaobaoAdJoined:
    source = TaobaoAdJoined(
        path=str(path),
        length=50,
        validation_share=0.2,
        test_share=0.2,
        min_count={},
        max_bad_fraction=0.05,
        memory_gb=1,
        seed=0,
    )
    return replace(source, **settings)  # type: ignore[arg-type]


def joined_line(user: int, label: int, history: list[int]) -> str:
    lists = ["|".join(map(str, values)) for values in (history, [3000 + n for n in history])]
    return f"{label},0,430548_1007,7,{10 + user % 3},1,2,NULL,{user},5,2,1,3,,3,0,2,{lists[0]},{lists[1]},23"


def test_each_joined_row_keeps_a_history_of_its_own(tmp_path: Path, root: Path) -> None:
    # Rows of one user with different lists: none may read another's.
    histories = {(user, n): [10 + n, 20 + user][: 1 + n] if n else [] for user in range(1, 31) for n in range(3)}
    path = tmp_path / "joined.csv"
    path.write_text("".join(joined_line(user, n % 2, h) + "\n" for (user, n), h in histories.items()))
    store = prepare(joined(path), root)
    found = []
    for split in SPLITS:
        samples = store.samples[split]
        for n, user in enumerate(raw(store, "user", samples.static["user"])):
            history = slice(store.user_offsets[samples.user[n]], samples.end[n])
            found.append((user, raw(store, "category", store.events["category"][history])))
    assert sorted(found) == sorted((user, history) for (user, _), history in histories.items())


def test_the_rows_of_a_user_are_in_one_split_and_known_as_one_users(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "joined.csv"
    path.write_text("".join(joined_line(user, n % 2, [10]) + "\n" for user in range(1, 31) for n in range(3)))
    store = prepare(joined(path), root)
    gathered = DeviceStore(store, "cpu")
    users = {split: gathered.users(split).tolist() for split in SPLITS}
    for split, mine in users.items():
        assert {mine.count(user) for user in mine} == {3}
        assert all(not set(mine) & set(other) for name, other in users.items() if name != split)


def test_inspecting_tells_what_is_missing_from_what_training_lacks(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "joined.csv"
    lines = [joined_line(user, n % 2, [10]) for user in range(1, 31) for n in range(4)]
    branded = [line.replace("NULL", "55") if n % 4 else line for n, line in enumerate(lines)]
    path.write_text("".join(f"{line}\n" for line in branded))
    store = prepare(joined(path, min_count={"category": 1000}), root)
    for facts in inspect(store).splits.values():
        assert facts.missing["brand"] == 0.25
        assert facts.rowless["brand"] == 0
        assert facts.missing["pvalue_level"] == 1
        assert (facts.missing["category"], facts.rowless["category"]) == (0, 1)


def test_a_page_about_a_log_without_times_shows_none(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "joined.csv"
    path.write_text("".join(joined_line(user, n % 2, [10]) + "\n" for user in range(1, 31) for n in range(3)))
    store = prepare(joined(path), root)
    write_page(store, inspect(store), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "History lengths" in text
    assert "Samples over time" not in text


@needs_real
def test_the_real_joined_sample_is_read_whole(root: Path) -> None:
    store = prepare(joined(REAL), root)
    leakage_check(store)
    assert store.defects == Defects(10_000)
    assert len(np.unique(store.users_of)) == 5379
    labels = np.concatenate([samples.label for samples in store.samples.values()])
    assert labels.mean() == pytest.approx(0.0533)
    empty = np.concatenate([store.history_lengths(split) == 0 for split in SPLITS])
    assert empty.mean() == pytest.approx(0.42, abs=0.005)
    assert "gap" not in store.schema.tables
    facts = inspect(store).splits.values()
    for field, share in {"brand": 0.32, "pvalue_level": 0.53}.items():
        missing = sum(fact.missing[field] * fact.rows for fact in facts)
        assert missing / 10_000 == pytest.approx(share, abs=0.01)
