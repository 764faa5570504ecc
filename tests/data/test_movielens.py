from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mdaf.data.movielens import MovieLens
from mdaf.data.preparing.checking.leakage import leakage_check
from mdaf.data.preparing.prepare import prepare
from mdaf.data.reading.defects import Defects
from mdaf.data.schema import FIRST_ID, LIST, VECTOR, Cells, weights_of
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import SPLITS, EventStore
from mdaf.errors import DataError
from tests.data.logs import DAY, SHARED

REAL = SHARED / "movielens_100k/ml-100k.inter"
needs_real = pytest.mark.skipif(not REAL.is_file(), reason=f"MovieLens is not at {REAL}")

NEW_YEAR = 883_634_400  # 1998-01-01 00:00 at UTC-6
RATINGS = [
    (user, item, 1 + (2 * user + item // 10) % 5, NEW_YEAR + day * DAY + item)
    for day in (0, 1, 2)
    for user in (1, 2)
    for item in (10 + day, 20 + day)
]
ITEMS = [(item, f"Film {item}", 1990, "Drama War" if item % 2 else "Comedy") for item in range(10, 30)]
USERS = [(1, 24, "M", "artist", "55555"), (2, 39, "F", "lawyer", "12345")]
HEADERS = {
    "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float",
    "item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
    "user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
}


def movielens(path: Path | str | None, **settings: object) -> MovieLens:
    """The source for the first days of 1998, but for ``settings``."""
    source = MovieLens(
        path=None if path is None else str(path),
        length=50,
        click_rating=4,
        utc_offset_hours=-6,
        validation_start="1998-01-02",
        test_start="1998-01-03",
        min_count={},
        max_bad_fraction=0.05,
        memory_gb=1,
        seed=0,
    )
    return replace(source, **settings)  # type: ignore[arg-type]


def write(folder: Path, **changed: list) -> Path:
    """The three files; ``changed`` gives other lines, rows or text as it stands."""
    for kind, rows in {"inter": RATINGS, "item": ITEMS, "user": USERS, **changed}.items():
        lines = [row if isinstance(row, str) else "\t".join(map(str, row)) for row in rows]
        (folder / f"ml.{kind}").write_text("\n".join([HEADERS[kind], *lines]) + "\n", encoding="utf-8")
    return folder / "ml.inter"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    dates = {"validation_start": "1998-03-07", "test_start": "1998-03-30"}
    return prepare(movielens(REAL, **dates), tmp_path_factory.mktemp("movielens"))


def test_a_high_rating_is_a_click_and_its_history_holds_the_ratings_before_it(tmp_path: Path, root: Path) -> None:
    store = prepare(movielens(write(tmp_path)), root)
    users, items, ratings = (store.vocabulary(table).tolist() for table in ("user", "item", "rating"))
    found = []
    for split in SPLITS:
        samples = store.samples[split]
        for row in range(len(samples)):
            user = users[samples.user[row]]
            item = items[samples.static["item"][row] - FIRST_ID]
            history = slice(store.user_offsets[samples.user[row]], samples.end[row])
            seen = [
                (items[i - FIRST_ID], float(ratings[r - FIRST_ID]))
                for i, r in zip(store.events["item"][history], store.events["rating"][history], strict=True)
            ]
            time = samples.time[row]
            assert sorted(seen) == sorted((i, r) for u, i, r, t in RATINGS if u == user and t < time)
            found.append((user, item, int(samples.label[row]), int(time)))
    assert sorted(found) == sorted((u, i, int(r >= 4), t) for u, i, r, t in RATINGS)


def test_genres_are_the_category_and_users_have_an_age_bucket_gender_and_occupation(tmp_path: Path, root: Path) -> None:
    store = prepare(movielens(write(tmp_path)), root)
    assert set(store.vocabulary("category").tolist()) == {"Drama War", "Comedy"}
    assert set(store.vocabulary("age").tolist()) == {20, 30}
    assert set(store.vocabulary("gender").tolist()) == {"M", "F"}
    assert set(store.vocabulary("occupation").tolist()) == {"artist", "lawyer"}


@pytest.mark.parametrize("name", ["genre", "genres"])
def test_the_genres_are_read_whatever_the_files_of_another_size_call_them(
    tmp_path: Path, root: Path, name: str
) -> None:
    path = write(tmp_path)
    items = tmp_path / "ml.item"
    items.write_text(items.read_text().replace("class:token_seq", f"{name}:token_seq"))
    assert set(prepare(movielens(path), root).vocabulary("category").tolist()) == {"Drama War", "Comedy"}


def test_what_is_wrong_with_the_files_is_counted(tmp_path: Path, root: Path) -> None:
    ratings = [*RATINGS, "1\t10", "1\tx\t3\t883634400", "", "1\t10\t3\t883634400\t9", (1, 99, 5, NEW_YEAR)]
    store = prepare(movielens(write(tmp_path, inter=ratings, user=USERS[:1]), max_bad_fraction=0.5), root)
    assert store.defects == Defects(
        17,
        {"cut line": 1, "not a number": 1, "blank line": 1, "too many fields": 1},
        {},
        {"item without genres": 1, "user without a profile": 6},
    )


@pytest.mark.parametrize(
    ("kind", "rows", "said"),
    [
        ("item", [*ITEMS, *["x\ty\t1\tz"] * 3], r"ml.item: 13.0% .*3 not a number \(ml.item, line 22, column 'item_id"),
        ("user", [USERS[0], (2, "old", "F", "lawyer", "1")], r"1 age not a number \(ml.user, line 3, .* 'old'"),
        ("item", [*ITEMS, *ITEMS[:3]], r"3 item described twice"),
    ],
)
def test_files_beside_the_ratings_are_held_to_the_bound_too(
    tmp_path: Path, root: Path, kind: str, rows: list, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        prepare(movielens(write(tmp_path, **{kind: rows})), root)


def test_a_time_that_nobody_lived_at_is_counted_however_large(tmp_path: Path, root: Path) -> None:
    times = [2**34, -(2**34), 2**63 - 1, -(2**63), -9223372036854775300, 2**64, 10**40, "1e30", "-1e300"]
    ratings = [*RATINGS, *((1, 10, 5, time) for time in times)]
    store = prepare(movielens(write(tmp_path, inter=ratings), max_bad_fraction=0.5), root)
    assert len(store.samples["train"]) + len(store.samples["validation"]) + len(store.samples["test"]) == len(RATINGS)
    assert sum(store.defects.dropped.values()) == len(times)


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (gzip.compress(b"1\t2\n" * 50, mtime=0), "gzip-compressed"),
        ("user_id:token\t1\n".encode("utf-16"), "UTF-16"),
        (b"user,item\n1,2\n", "has no column"),
    ],
)
def test_a_file_of_another_kind_gives_one_clear_line(
    tmp_path: Path, root: Path, kind: str, content: bytes, said: str
) -> None:
    path = write(tmp_path)
    (tmp_path / f"ml.{kind}").write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        prepare(movielens(path), root)
    assert f"ml.{kind}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(root.iterdir())


def test_columns_are_found_whatever_type_the_atomic_files_give_them(tmp_path: Path, root: Path) -> None:
    """Some public files have age:float; a header may even leave the types out."""
    expected = prepare(movielens(write(tmp_path)), root / "expected")
    users, ratings = tmp_path / "ml.user", tmp_path / "ml.inter"
    users.write_text(users.read_text().replace("age:token", "age:float").replace("\t24\t", "\t24.0\t"))
    ratings.write_text(ratings.read_text().replace(HEADERS["inter"], "user_id\titem_id\trating\ttimestamp"))
    found = prepare(movielens(ratings), root / "found")
    for table in ("user", "item", "age", "rating"):
        np.testing.assert_array_equal(found.vocabulary(table), expected.vocabulary(table))


def test_a_log_of_other_years_is_refused_with_its_beginning(tmp_path: Path, root: Path) -> None:
    with pytest.raises(DataError, match=r"nothing to train on \(data.validation_start\); the log begins 1998-01-01"):
        prepare(movielens(write(tmp_path), validation_start="1997-01-01", test_start="1997-02-01"), root)


def test_a_missing_companion_is_refused_by_its_name(tmp_path: Path, root: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "ml.user").unlink()
    with pytest.raises(DataError, match=r"ml\.user must lie beside it"):
        prepare(movielens(path), root)


@needs_real
def test_the_real_files_have_no_defect_and_every_rating_is_a_sample(real: EventStore) -> None:
    leakage_check(real)
    assert real.defects == Defects(100_000)
    assert sum(real.manifest["counts"]["samples"].values()) == 100_000
    labels = np.concatenate([samples.label for samples in real.samples.values()])
    assert labels.mean() == pytest.approx(0.55375)


def test_genres_may_be_several_categories_and_an_age_a_number(tmp_path: Path, root: Path) -> None:
    path = write(tmp_path, item=[(n, f"Film {n}", 1990, "Drama War" if n < 20 else "Comedy") for n in range(10, 30)])
    assert {"genres", "age"}.isdisjoint(prepare(movielens(path), root).manifest["settings"])
    store = prepare(movielens(path, genres="many", age="number"), root)
    assert store.schema.cells == {"category": Cells(LIST, 2), "age": Cells(VECTOR)}
    assert set(store.cell_rows["category"].values) == {"Comedy", "Drama", "War"}
    gathered = DeviceStore(store, "cpu")
    batch = gathered.gather("train", gathered.rows("train")[None])
    items, samples = store.vocabulary("item").tolist(), store.samples["train"]
    for row, code in enumerate(samples.static["item"].tolist()):
        weights = sorted(batch.static[weights_of("category")][0, row].tolist())
        assert weights == ([0.5, 0.5] if items[code - FIRST_ID] < 20 else [0.0, 1.0])
    ages = batch.static[weights_of("age")][0, :, 0].numpy()
    assert sorted(set(ages.tolist())) == pytest.approx([-1, 1])  # 24 and 39, equally often


def test_each_users_last_rating_tests_and_the_one_before_it_validates(tmp_path: Path, root: Path) -> None:
    again = [
        (user, item, 6 - rating, time + DAY // 2) for user, item, rating, time in RATINGS
    ]  # both labels at the end
    store = prepare(movielens(write(tmp_path, inter=RATINGS + again), splits="leave_one_out"), root)
    last = {user: sorted(row[3] for row in RATINGS + again if row[0] == user) for user in (1, 2)}
    for split, place in (("validation", -2), ("test", -1)):
        assert sorted(store.samples[split].time.tolist()) == sorted(times[place] for times in last.values())
    assert len(store.samples["train"]) == len(RATINGS + again) - 4
    with pytest.raises(DataError, match=r"data\.validation_share and data\.test_share: they are of data\.splits=user"):
        movielens(None, splits="leave_one_out", test_share=0.2)
