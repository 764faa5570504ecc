from __future__ import annotations

import gzip
import io
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdaf.data.event_log import EventLogFile
from mdaf.data.preparing.own_log.settings import HISTORIES
from mdaf.data.preparing.prepare import prepare
from mdaf.data.reading.defects import Defects
from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.data.store.event_store import SPLITS, EventStore
from mdaf.errors import DataError
from tests.data.logs import DAY

START = 1_577_836_800  # 2020-01-01 00:00 UTC
ROWS = pl.DataFrame(
    [
        {
            "who": f"u{n % 13}",
            "what": f"i{n * n % 17}",
            "kind": f"c{n * n % 17 % 4}",
            "maker": "acme, inc." if n * n % 17 % 2 else "other",
            "age": n % 13 // 5,
            "did": ("view", "view", "buy")[n % 3],
            "clicked": n % 5 // 4,
            "when": START + n * 7200 + n % 3,
        }
        for n in range(240)
    ]
)
COLUMNS = {"user": "who", "item": "what", "time": "when"}
SAMPLE_COLUMNS = {role: role for role in ("user", "item", "category", "time", "label", "split")}


def event_log(path: Path | str | list[str] | None, **settings: object) -> EventLogFile:
    """The source at the defaults of the config, but for ``settings`` and no minimal count."""
    source = EventLogFile(
        path=str(path) if isinstance(path, Path) else path,
        samples_path=None,
        columns=COLUMNS,
        sample_columns=SAMPLE_COLUMNS,
        user_fields=[],
        item_fields=[],
        separator=",",
        time_format="seconds",
        positive_from=1,
        history="positives",
        task="next_click",
        view=None,
        purchase=None,
        length=50,
        negatives=2,
        utc_offset_hours=0,
        validation_start=None,
        test_start=None,
        validation_share=0.1,
        test_share=0.1,
        min_count={},
        max_bad_fraction=0.05,
        memory_gb=1,
        seed=0,
    )
    return replace(source, **settings)  # type: ignore[arg-type]


def write(folder: Path, frame: pl.DataFrame = ROWS, name: str = "log.csv", **options: object) -> Path:
    path = folder / name
    if path.suffix == ".parquet":
        frame.write_parquet(path, row_group_size=50)
    else:
        frame.write_csv(path, **options)  # type: ignore[call-overload]
    return path


def raw(store: EventStore, table: str, codes: np.ndarray) -> list:
    values = store.vocabulary(table).tolist()
    return [None if code == UNKNOWN else values[code - FIRST_ID] for code in codes.tolist()]


def static(store: EventStore, *names: str) -> list[tuple]:
    """Every sample's fields, split by split."""
    found: list[tuple] = []
    for split in SPLITS:
        samples = store.samples[split]
        columns = [raw(store, name, samples.static[name]) for name in names]
        found += zip(*columns, samples.time.tolist(), samples.label.tolist(), strict=True)
    return found


def test_without_labels_each_event_with_an_earlier_one_is_a_positive_with_negatives(tmp_path: Path, root: Path) -> None:
    store = prepare(event_log(write(tmp_path)), root)
    positives = [row[:3] for row in static(store, "user", "item") if row[3]]
    first = dict(ROWS.group_by("who").agg(pl.col("when").min()).iter_rows())
    expected = [row for row in ROWS.select("who", "what", "when").iter_rows() if row[2] > first[row[0]]]
    assert sorted(positives) == sorted(expected)
    assert set(store.events) == {"item"}
    assert [field.name for field in store.schema.static] == ["user", "item", "hour", "weekday"]


def test_the_last_shares_of_the_time_are_validation_and_test(tmp_path: Path, root: Path) -> None:
    counts = prepare(event_log(write(tmp_path), negatives=1), root).manifest["counts"]["samples"]
    shares = {split: count / sum(counts.values()) for split, count in counts.items()}
    assert shares["validation"] == pytest.approx(0.1, abs=0.03)
    assert shares["test"] == pytest.approx(0.1, abs=0.03)


def test_with_labels_each_row_is_an_impression_and_the_history_holds_earlier_clicks(tmp_path: Path, root: Path) -> None:
    columns = {**COLUMNS, "label": "clicked", "category": "kind"}
    store = prepare(event_log(write(tmp_path), columns=columns), root)
    expected = list(ROWS.select("who", "what", "kind", "when", "clicked").iter_rows())
    assert sorted(static(store, "user", "item", "category")) == sorted(expected)
    for split in SPLITS:
        samples = store.samples[split]
        for n, user in enumerate(raw(store, "user", samples.static["user"])):
            history = slice(store.user_offsets[samples.user[n]], samples.end[n])
            mine = ROWS.filter((pl.col("who") == user) & (pl.col("when") < samples.time[n]) & (pl.col("clicked") == 1))
            assert raw(store, "item", store.events["item"][history]) == mine["what"].to_list()


def test_further_fields_of_users_and_items_come_along(tmp_path: Path, root: Path) -> None:
    fields = {"columns": {**COLUMNS, "category": "kind"}, "user_fields": ["age"], "item_fields": ["maker"]}
    store = prepare(event_log(write(tmp_path), **fields), root)
    of_item = {row[0]: row[1:] for row in ROWS.select("what", "kind", "maker").iter_rows()}
    age = {user: str(age) for user, age in ROWS.select("who", "age").iter_rows()}
    for user, item, kind, maker, years, _, _ in static(store, "user", "item", "category", "maker", "age"):
        assert (kind, maker) == of_item[item]
        assert years == age[user]
    assert {match.name for match in store.schema.matches} == {"match_item", "match_category", "match_maker"}


def test_a_log_is_the_same_as_csv_as_quoted_text_with_tabs_and_as_parquet(tmp_path: Path, root: Path) -> None:
    columns = {**COLUMNS, "category": "kind", "behaviour": "did"}
    stores = [
        prepare(event_log(path, columns=columns, item_fields=["maker"], **how), root)
        for path, how in (
            (write(tmp_path), {}),
            (write(tmp_path, name="log.tsv", separator="\t", quote_style="always"), {"separator": "\t"}),
            (write(tmp_path, name="log.parquet"), {}),
            (write(tmp_path, name="again.parquet"), {"memory_gb": 1e-6}),
        )
    ]
    for name in stores[0].manifest["files"]:
        content = {(store.folder / name).read_bytes() for store in stores}
        assert len(content) == 1, name


@pytest.mark.parametrize(
    ("time_format", "spelled"),
    [
        ("milliseconds", pl.col("when") * 1000 + 7),
        ("%Y-%m-%d %H:%M:%S", pl.from_epoch("when").dt.strftime("%Y-%m-%d %H:%M:%S")),
    ],
)
def test_times_may_be_spelled_in_several_ways(tmp_path: Path, root: Path, time_format: str, spelled: pl.Expr) -> None:
    plain = prepare(event_log(write(tmp_path)), root)
    other = write(tmp_path, ROWS.with_columns(when=spelled), "other.csv")
    assert np.array_equal(prepare(event_log(other, time_format=time_format), root).time, plain.time)


def samples_of(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=[*SAMPLE_COLUMNS], orient="row")


def test_given_samples_are_trained_on_and_scored_as_they_are(tmp_path: Path, root: Path) -> None:
    late = START + 15 * DAY
    rows = [
        (f"u{n % 13}", f"i{n % 20}", f"c{n % 7}", START + n * DAY // 20 if n < 60 else late + n * 600, n % 2,
         "train" if n < 60 else "val" if n < 80 else "test")
        for n in range(100)
    ]  # fmt: skip
    path = write(tmp_path, samples_of(*rows), "samples.csv")
    columns = {**COLUMNS, "category": "kind"}
    store = prepare(event_log(write(tmp_path), samples_path=str(path), columns=columns), root)
    for number, split in enumerate(("train", "val", "test")):
        samples = store.samples[SPLITS[number]]
        names = [raw(store, name, samples.static[name]) for name in ("user", "item", "category")]
        found = list(zip(*names, samples.time.tolist(), samples.label.tolist(), strict=True))
        assert sorted(found) == sorted(row[:5] for row in rows if row[5] == split)
        for n, user in enumerate(names[0]):
            history = slice(store.user_offsets[samples.user[n]], samples.end[n])
            before = ROWS.filter((pl.col("who") == user) & (pl.col("when") < samples.time[n]))
            assert raw(store, "item", store.events["item"][history]) == before["what"].to_list()
            assert raw(store, "category", store.events["category"][history]) == before["kind"].to_list()


def test_given_samples_without_a_split_are_refused(tmp_path: Path, root: Path) -> None:
    path = write(tmp_path, samples_of(("u1", "i1", "c1", START, 0, "train")), "samples.csv")
    with pytest.raises(DataError, match="has no row of split validation"):
        prepare(event_log(write(tmp_path), samples_path=str(path)), root)


def test_a_purchase_the_same_day_makes_a_view_a_positive(tmp_path: Path, root: Path) -> None:
    columns = {**COLUMNS, "behaviour": "did"}
    every = ROWS.with_columns(
        who=pl.format("u{}", pl.int_range(240) // 3 % 5), what=pl.format("i{}", pl.int_range(240) // 2 % 7)
    )
    path = write(tmp_path, every)
    store = prepare(event_log(path, columns=columns, task="buy", view="view", purchase="buy"), root)
    rows = list(every.select("who", "what", "did", "when").iter_rows())
    first = dict(every.group_by("who").agg(pl.col("when").min()).iter_rows())
    borders = [0, *store.boundaries, 1 << 40]

    def split(time: int) -> int:
        return sum(time >= border for border in borders)

    expected = [
        (user, item, time, any(
            u == user and i == item and d == "buy" and t >= time and t // DAY == time // DAY and split(t) == split(time)
            for u, i, d, t in rows))
        for user, item, did, time in rows if did == "view" and time > first[user]
    ]  # fmt: skip
    assert sorted((*row[:3], bool(row[3])) for row in static(store, "user", "item")) == sorted(expected)


def test_bad_rows_are_counted(tmp_path: Path, root: Path) -> None:
    path = write(tmp_path)
    bad = [
        "u1,i1",
        "u1,i1,c1,acme,3,view,0,soon",
        "u1,i1,c1,acme,3,view,0,8999999999999999999",
        "u1,i1,c1,acme,3,view,0,-9223372036854775808",
        ",i1,c1,acme,3,view,0,1577836800",
        "",
        "u1,i1,c1,a,3,view,x,1577836800",
        "a,b,c,d,e,f,g,h,i",
    ]
    path.write_text(path.read_text() + "\n".join(bad) + "\n")
    store = prepare(event_log(path, columns={**COLUMNS, "label": "clicked"}), root)
    assert store.defects == Defects(
        len(ROWS) + 8,
        {
            "cut line": 2,
            "not a time": 1,
            "time out of range": 2,
            "blank line": 1,
            "not a number": 1,
            "too many fields": 1,
        },
    )


impressions = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 1), st.integers(0, 9), st.integers(0, 2)),
    max_size=30,
).map(lambda rows: [(f"u{u}", f"i{i}", label, START + day * DAY + second) for u, i, label, day, second in rows])
ENDS = [("u0", "i0", label, START + day * DAY) for day in (0, 5, 9) for label in (0, 1)]  # some of both in every split


@settings(max_examples=15, deadline=None)
@given(impressions, st.sampled_from(HISTORIES))
def test_no_row_is_lost_and_a_history_holds_what_is_strictly_earlier(rows: list[tuple], history: str) -> None:
    frame = pl.DataFrame([*ENDS, *rows], schema=["who", "what", "clicked", "when"], orient="row")
    columns = {**COLUMNS, "label": "clicked"}
    dates = {"validation_start": "2020-01-05", "test_start": "2020-01-08"}
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), frame)
        store = prepare(event_log(path, columns=columns, history=history, **dates), Path(folder) / "stores")
        found = static(store, "user", "item")
        assert Counter(found) == Counter(frame.select("who", "what", "when", "clicked").iter_rows())
        for split in SPLITS:
            samples = store.samples[split]
            for n, user in enumerate(raw(store, "user", samples.static["user"])):
                seen = slice(store.user_offsets[samples.user[n]], samples.end[n])
                mine = frame.filter((pl.col("who") == user) & (pl.col("when") < samples.time[n]))
                mine = mine if history == "all" else mine.filter(pl.col("clicked") == 1)
                # Events of one second stay in the order of the log.
                expected = mine.sort("when", maintain_order=True)["what"].to_list()
                assert raw(store, "item", store.events["item"][seen]) == expected


def parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


PARQUET = parquet(ROWS)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("log.csv", b"", "is empty"),
        ("log.csv", b"who,what,when\n", "no usable row"),
        (
            "log.csv",
            b"who,what,when\n1,2,2020-01-01\n",
            "is seconds since 1970: type the format of your times",
        ),
        ("log.csv", gzip.compress(b"who,what,when\n" * 50, mtime=0), "gzip-compressed"),
        ("log.csv", b"user,what,when\n1,2,3\n", "has no column 'who'"),
        ("log.csv", b"who,what,when,who\n1,2,3,4\n", "has several columns 'who'"),
        ("log.csv", "who,what,when\n".encode("utf-16"), "UTF-16"),
        ("log.csv", PARQUET, "is a Parquet file; expected plain text"),
        ("log.parquet", b"", "is empty"),
        ("log.parquet", gzip.compress(PARQUET, mtime=0), "gzip-compressed"),
        ("log.parquet", PARQUET[: len(PARQUET) // 2], "was cut off"),
        ("log.parquet", PARQUET[:-1], "was cut off"),
        ("log.parquet", PARQUET[:200] + bytes(64) + PARQUET[264:], "cannot be read"),
        ("log.parquet", parquet(ROWS.with_columns(when=pl.duration(seconds="when"))), "column 'when' holds Duration"),
        ("log.parquet", b"PAR1 and then nothing PAR1", "cannot be read"),
        ("log.parquet", b"who,what,when\n1,2,3\n", "is not a Parquet file, as its name says"),
    ],
)
def test_a_file_of_another_kind_gives_one_clear_line(
    tmp_path: Path, root: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        prepare(event_log(tmp_path / name), root)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(root.iterdir())


def accented(rows: int) -> pl.DataFrame:
    """The log with accents on the last items: in Latin-1 these words are not UTF-8, and two differ by such a byte."""
    words = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("café")).otherwise(pl.lit("cafè"))
    accent = pl.when(pl.int_range(pl.len()) >= pl.len() - rows).then(words).otherwise(pl.col("what"))
    return ROWS.with_columns(accent.alias("what"))


def in_latin_1(folder: Path, rows: int, name: str) -> Path:
    """A file whose last ``rows`` rows are not UTF-8."""
    path = folder / name
    if name.endswith(".csv"):
        path.write_bytes(accented(rows).write_csv().encode("latin-1"))
    else:  # bytes without an encoding are read as UTF-8
        frame = accented(rows)
        path.write_bytes(parquet(frame.with_columns(what=pl.Series(w.encode("latin-1") for w in frame["what"]))))
    return path


def test_columns_that_are_not_asked_for_may_share_a_name_or_have_none(tmp_path: Path, root: Path) -> None:
    plain = write(tmp_path)
    lines = plain.read_text().splitlines()
    several = tmp_path / "several.csv"
    several.write_text("\n".join([f"{lines[0]},,,note,note", *(f"{line},1,2,3,4" for line in lines[1:])]))
    stores = [prepare(event_log(path), root) for path in (plain, several)]
    assert np.array_equal(stores[0].events["item"], stores[1].events["item"])


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_rows_in_another_encoding_are_bad_rows_not_merged_ones(tmp_path: Path, root: Path, name: str) -> None:
    store = prepare(event_log(in_latin_1(tmp_path, 5, name)), root)
    assert store.defects.dropped == {"not UTF-8": 5}
    assert not any("\ufffd" in item for item in store.vocabulary("item"))


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_file_in_another_encoding_is_refused(tmp_path: Path, root: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{len(ROWS)} not UTF-8"):
        prepare(event_log(in_latin_1(tmp_path, len(ROWS), name)), root)


@pytest.mark.parametrize("spoiled", ['"acme, inc.', 'acme, inc."', '"acme", inc."', '"acme, inc."x', '"acme, "inc."'])
def test_a_line_whose_quotes_are_damaged_is_one_bad_row_and_swallows_no_other(
    tmp_path: Path, root: Path, spoiled: str
) -> None:
    path = write(tmp_path)
    lines = path.read_text().splitlines()
    damaged = [n for n, line in enumerate(lines) if '"acme, inc."' in line][::40]
    for n in damaged:
        lines[n] = lines[n].replace('"acme, inc."', spoiled)
    path.write_text("\n".join(lines))
    store = prepare(event_log(path, item_fields=["maker"]), root)
    assert (store.defects.rows, store.defects.dropped) == (len(ROWS), {"bad quotes": len(damaged)})


@pytest.mark.parametrize("kind", ["list", "struct"])
def test_a_parquet_column_of_more_than_one_value_a_row_is_refused_by_its_name(
    tmp_path: Path, root: Path, kind: str
) -> None:
    columns = {"list": pl.concat_list("what"), "struct": pl.struct("what")}
    path = write(tmp_path, ROWS.with_columns(columns[kind].alias("what")), "log.parquet")
    with pytest.raises(DataError, match=f"column 'what' holds {kind.title()}.* expected numbers, words or times"):
        prepare(event_log(path), root)


def test_words_may_be_bytes_in_parquet_and_numbers_decimals(tmp_path: Path, root: Path) -> None:
    text = prepare(event_log(write(tmp_path)), root)
    spelled = ROWS.with_columns(pl.col("what").cast(pl.Binary), pl.col("when").cast(pl.Decimal(20, 2)))
    other = prepare(event_log(write(tmp_path, spelled, "log.parquet")), root)
    assert static(other, "user", "item") == static(text, "user", "item")


def test_a_parquet_file_without_a_column_names_those_that_it_has(tmp_path: Path, root: Path) -> None:
    path = write(tmp_path, ROWS.rename({"who": "person"}), "log.parquet")
    with pytest.raises(DataError, match=r"no column 'who', it has person, what"):
        prepare(event_log(path), root)


def test_times_in_a_unit_that_nobody_lived_in_are_told_with_the_likelier_one(
    tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    years = ROWS.with_columns(when=START + (pl.col("when") - START) * 300)
    prepare(event_log(write(tmp_path, years), time_format="milliseconds"), root)
    assert "its times reach from 1970-01-19 06:17 to 1970-01-25 05:41; in data.time_format=seconds" in caplog.text
    with pytest.raises(DataError, match=r"1 hours, from 1970.* in data.time_format=seconds they would reach from 20"):
        prepare(event_log(write(tmp_path), time_format="milliseconds"), root)
    late = write(tmp_path, ROWS.with_columns(pl.col("when") * 1000), "late.csv")
    with pytest.raises(DataError, match=r"time out of range \(late.csv, line 2, .*is it data.time_format=milliseconds"):
        prepare(event_log(late), root)


def test_columns_may_be_called_as_the_program_calls_other_things(tmp_path: Path, root: Path) -> None:
    odd = (
        "type",
        "label",
        "split",
        "first",
        "total",
        "kind",
        "gap",
        "match_item",
        "a/b",
        "a.b",
        "length of it",
        "#label",
        "*",
        "^what.*$",
        "日" * 150,
    )
    frame = ROWS.with_columns(pl.col("maker").alias(name) for name in odd if name != "kind")
    columns = {**COLUMNS, "label": "clicked", "category": "age"}
    store = prepare(event_log(write(tmp_path, frame), columns=columns, item_fields=list(odd)), root)
    names = [field.name for field in store.schema.static]
    assert names[3:-2] == [
        "type", "item_label", "item_split", "item_first", "item_total", "kind", "item_gap", "item_match_item", "a_b",
        "a.b", "length of it", "_label", "_", "_what.*$", "日" * 66,
    ]  # fmt: skip
    expected = sorted(zip(*(ROWS["maker"] for _ in odd[:5]), ROWS["kind"], ROWS["when"], strict=True))
    found = static(store, *names[3:9])
    assert sorted(row[:-1] for row in found) == expected
    frame.rename({"label": ""}).write_parquet(tmp_path / "log.parquet")
    source = event_log(tmp_path / "log.parquet", columns=columns, item_fields=["", *odd[2:-3], *odd[-2:]])
    as_parquet = prepare(source, root)
    assert [field.name for field in as_parquet.schema.static][3] == "_"
    assert static(as_parquet, "_", "_what.*$") == static(store, "item_label", "_what.*$")


def test_one_long_id_makes_no_other_longer(tmp_path: Path, root: Path) -> None:
    long = pl.when(pl.col("what") == "i0").then(pl.lit("ü" * 20_000)).otherwise("what").alias("what")
    store = prepare(event_log(write(tmp_path, ROWS.with_columns(long)), min_count={"item": 2}), root)
    assert set(store.vocabulary("item").tolist()) == {*ROWS["what"].unique(), "ü" * 20_000} - {"i0"}
    assert sum(path.stat().st_size for path in store.folder.glob("*item.npy")) < 60_000


def test_what_a_behaviour_is_called_is_told_where_none_is_called_so(tmp_path: Path, root: Path) -> None:
    with pytest.raises(DataError, match=r"no event of the log has the behaviour 'click'; behaviours are .*view"):
        prepare(event_log(write(tmp_path), columns={**COLUMNS, "behaviour": "did"}, view="click"), root)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"columns": {"user": "who", "item": "what"}}, r"data\.columns\.time is not set"),
        ({"columns": {**COLUMNS, "price": "x"}}, r"data\.columns\.price: no such role"),
        ({"task": "buy"}, r"data\.task=buy needs"),
        ({"task": "sell"}, r"data\.task=sell: expected one of"),
        ({"history": "none"}, r"data\.history=none"),
        ({"columns": {**COLUMNS, "label": "clicked"}, "item_fields": ["clicked"]}, "which is to be predicted"),
        ({"columns": {**COLUMNS, "label": "clicked", "behaviour": "clicked"}}, r"columns\.behaviour=clicked is .* too"),
        ({"sample_columns": {**SAMPLE_COLUMNS, "category": "label"}}, r"sample_columns\.category=label is .* too"),
        ({"validation_share": 0.9, "test_share": 0.2}, "less than 1 together"),
        ({"test_share": 0}, "more than 0 each"),
        ({"time_format": "%H:%M"}, r"data\.time_format=%H:%M says no year"),
        ({"separator": ""}, r"data\.separator=''"),
        ({"item_fields": ["what"]}, r"data\.item_fields: 'what' is data\.columns\.item already"),
        ({"item_fields": ["age"], "user_fields": ["age"]}, r"data\.item_fields: 'age' is listed twice"),
        ({"item_fields": ["a/b", "a_b"]}, r"'a_b' and 'a/b' would both be called 'a_b'"),
        ({"validation_start": "2020-01-05"}, "set both"),
        ({"min_count": {"brand": 2}}, r"data\.min_count\.brand"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_key(wrong: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        event_log("log.csv", **wrong)


def known_at(store: EventStore, field: str, of: str, name: str) -> dict[int, set]:
    """The values of a field in the samples of one item or user, by their time."""
    found: dict[int, set] = {}
    for owner, value, time, _ in static(store, of, field):
        if owner == name:
            found.setdefault(time, set()).add(value)
    return found


@pytest.mark.parametrize(("of", "name", "column"), [("user", "u3", "who"), ("item", "i4", "what")])
def test_what_a_later_row_says_of_a_user_or_an_item_is_not_known_before(
    tmp_path: Path, root: Path, of: str, name: str, column: str
) -> None:
    told = START + 8 * DAY + DAY // 2
    late = ROWS.with_columns(age=pl.when((pl.col("when") >= told) | (pl.col(column) != name)).then(pl.lit("x")))
    store = prepare(event_log(write(tmp_path, late), **{f"{of}_fields": ["age"]}), root)
    since = late.filter((pl.col(column) == name) & pl.col("age").is_not_null())["when"].min()
    assert isinstance(since, int)
    if of == "item":  # of candidates everything is known that is known at the end of the day
        since = since // DAY * DAY
    found = known_at(store, "age", of, name)
    assert {time: values for time, values in found.items() if time < since and values != {None}} == {}
    assert {time: values for time, values in found.items() if time >= since and values != {"x"}} == {}
    assert min(found) < since <= max(found)


def test_of_a_sample_of_a_second_file_no_more_is_known_than_the_events_before_it_say(
    tmp_path: Path, root: Path
) -> None:
    given = ROWS.select(
        user="who",
        item="what",
        time="when",
        label="clicked",
        split=pl.when(pl.int_range(240) < 160)
        .then(pl.lit("train"))
        .when(pl.int_range(240) < 200)
        .then(pl.lit("val"))
        .otherwise(pl.lit("test")),
    )
    given.write_csv(tmp_path / "samples.csv")
    source = event_log(write(tmp_path), samples_path=str(tmp_path / "samples.csv"), item_fields=["maker"])
    first = dict(ROWS.group_by("what").agg(pl.col("when").min()).iter_rows())
    maker = dict(ROWS.select("what", "maker").iter_rows())
    for item, value, time, _ in static(prepare(source, root), "item", "maker"):
        assert value == (maker[item] if first[item] < time else None)
