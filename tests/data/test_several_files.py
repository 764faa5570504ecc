"""One log in files of several kinds: parts, folders, patterns, archives, JSON lines, with and without a header."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from mdaf.data.preparing.prepare import prepare
from mdaf.data.store.event_store import EventStore
from mdaf.errors import DataError
from tests.data.test_event_log import COLUMNS, ROWS, event_log, static

SETTINGS = {"columns": {**COLUMNS, "category": "kind", "label": "clicked"}, "item_fields": ["maker"]}


def content_of(store: EventStore) -> dict[str, bytes]:
    return {name: (store.folder / name).read_bytes() for name in store.manifest["files"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    """The store of the log in one plain file."""
    folder = tmp_path_factory.mktemp("whole")
    ROWS.write_csv(folder / "log.csv")
    return prepare(event_log(folder / "log.csv", **SETTINGS), folder / "stores")


def zstd(content: bytes) -> bytes:
    """An archive in zstd with blocks that are not compressed, since nothing that is installed writes such archives."""
    blocks = [content[start : start + 100_000] for start in range(0, len(content), 100_000)] or [b""]
    sizes = [
        (len(block) << 3 | (number == len(blocks) - 1)).to_bytes(3, "little") for number, block in enumerate(blocks)
    ]
    return b"\x28\xb5\x2f\xfd\x00\x88" + b"".join(size + block for size, block in zip(sizes, blocks, strict=True))


def nested(row: dict) -> dict:
    return {"who": row["who"], "clicked": bool(row["clicked"]), "when": row["when"], "film": {
        "what": row["what"], "kind": row["kind"], "maker": row["maker"]}}  # fmt: skip


def in_parts(folder: Path) -> dict[str, object]:
    ROWS[:100].write_csv(folder / "b.csv")
    ROWS[100:].select(reversed(ROWS.columns)).write_csv(folder / "a.csv")
    return {"path": [str(folder / "b.csv"), str(folder / "a.csv")]}


def in_a_folder(folder: Path) -> dict[str, object]:
    (folder / "log" / "day=2").mkdir(parents=True)
    (folder / "log/_SUCCESS").touch()
    ROWS[:80].write_csv(folder / "log/1.csv")
    ROWS[80:90].write_parquet(folder / "log/2.parquet")
    ROWS[90:].write_csv(folder / "log/day=2/3.csv")
    return {"path": str(folder / "log")}


def by_a_pattern(folder: Path) -> dict[str, object]:
    for number in range(3):
        ROWS[number * 80 : number * 80 + 80].write_csv(folder / f"part-{number}.csv")
    (folder / "notes.txt").write_text("no log")
    return {"path": str(folder / "part-*.csv")}


def in_gzip(folder: Path) -> dict[str, object]:
    parts = (ROWS[:100].write_csv(), ROWS[100:].write_csv(include_header=False))
    (folder / "log.csv.gz").write_bytes(b"".join(gzip.compress(part.encode(), mtime=0) for part in parts))
    return {"path": str(folder / "log.csv.gz")}


def in_zstd(folder: Path) -> dict[str, object]:
    (folder / "log.csv.zst").write_bytes(zstd(ROWS.write_csv().encode()))
    return {"path": str(folder / "log.csv.zst")}


def in_json_lines(folder: Path) -> dict[str, object]:
    lines = [json.dumps(nested(row)) for row in ROWS.iter_rows(named=True)]
    (folder / "log.jsonl").write_text("\n".join(lines))
    columns = {**COLUMNS, "item": "film.what", "category": "film.kind", "label": "clicked"}
    return {"path": str(folder / "log.jsonl"), "columns": columns, "item_fields": ["film.maker"]}


def without_a_header(folder: Path) -> dict[str, object]:
    plain = ROWS.with_columns(maker=pl.col("maker").replace("acme, inc.", 'the "acme"'))
    plain.write_csv(folder / "log.dat", include_header=False, separator="|", quote_style="never")
    return {"path": str(folder / "log.dat"), "header": ROWS.columns, "quotes": False, "separator": "|"}


@pytest.mark.parametrize(
    "written",
    [in_parts, in_a_folder, by_a_pattern, in_gzip, in_zstd, in_json_lines, without_a_header],
    ids=lambda function: function.__name__,
)
def test_a_log_is_the_same_however_its_files_are_written(written: object, tmp_path: Path, whole: EventStore) -> None:
    settings = {**SETTINGS, **written(tmp_path)}  # type: ignore[operator]
    path = settings.pop("path")
    store = prepare(event_log(path, **settings), tmp_path / "stores")  # type: ignore[arg-type]
    if written is without_a_header:  # has other words
        assert {row[0] for row in static(store, "maker")} == {'the "acme"', "other"}
        assert [row[1:] for row in static(store, "maker", "item")] == [
            row[1:] for row in static(whole, "maker", "item")
        ]
        return
    of = {name.replace("film.maker", "maker"): content for name, content in content_of(store).items()}
    assert of == content_of(whole)
    assert store.defects.rows == len(ROWS)


def test_the_order_and_the_content_of_every_file_are_part_of_the_hash(tmp_path: Path) -> None:
    paths = in_parts(tmp_path)["path"]
    assert isinstance(paths, list)
    hashes = {prepare(event_log(each, **SETTINGS), tmp_path / "stores").data_hash for each in (paths, paths[::-1])}
    with (tmp_path / "a.csv").open("a") as file:
        file.write("1577836999,1,view,30,acme,c1,i1,u1\n")
    hashes.add(prepare(event_log(paths, **SETTINGS), tmp_path / "stores").data_hash)
    assert len(hashes) == 3


def ids_in_two_types(folder: Path) -> list[str]:
    numbers = ROWS.with_columns(who=pl.col("who").str.slice(1).cast(pl.Int64))
    numbers[:100].write_csv(folder / "a.csv")
    numbers[100:].with_columns(pl.col("who").cast(pl.Float64)).write_csv(folder / "b.csv")
    return [str(folder / name) for name in ("a.csv", "b.csv")]


def test_an_id_is_the_same_in_every_file_of_a_log(tmp_path: Path) -> None:
    store = prepare(event_log(ids_in_two_types(tmp_path), **SETTINGS), tmp_path / "stores")
    assert sorted(store.vocabulary("user"), key=int) == [str(number) for number in range(13)]


def test_naive_times_are_local_in_every_format_and_times_with_an_offset_are_instants(tmp_path: Path) -> None:
    local = pl.from_epoch("when") + pl.duration(hours=8)
    ROWS[:60].with_columns(when=local).write_parquet(tmp_path / "a.parquet")
    ROWS[60:120].with_columns(when=local.dt.strftime("%Y-%m-%dT%H:%M:%S")).write_ndjson(tmp_path / "b.jsonl")
    ROWS[120:180].with_columns(when=pl.from_epoch("when").dt.replace_time_zone("UTC")).write_parquet(
        tmp_path / "c.parquet"
    )
    ROWS[180:].with_columns(when=local.dt.strftime("%Y-%m-%dT%H:%M:%S")).write_csv(tmp_path / "d.csv")
    source = event_log(tmp_path / "?.*", **SETTINGS, time_format="%Y-%m-%dT%H:%M:%S", utc_offset_hours=8)
    found = sorted(row[2] for row in static(prepare(source, tmp_path / "stores"), "user", "item"))
    assert found == ROWS["when"].to_list()


@pytest.mark.parametrize(
    ("files", "path", "said"),
    [
        ({"a.csv": "who,what,when\n", "b.csv": "who,thing,when\n"}, ["a.csv", "b.csv"], "b.csv has no column 'what'"),
        ({"a.csv": "who,what,when\n"}, ["a.csv", "./a.csv"], "names .*a.csv twice"),
        ({}, ["*.csv"], r"data.path=.*\*.csv matches no file"),
        ({"log/_SUCCESS": ""}, ["log"], "is a folder without files"),
        ({"log.csv.gz": "who,what,when\n"}, ["log.csv.gz"], "is not compressed with gzip, as its name says"),
        (
            {"log.csv.gz": gzip.compress(b"who,what,when\n" * 99, mtime=0)[:-9]},
            ["log.csv.gz"],
            "cannot be decompressed",
        ),
        ({"log.csv.zst": zstd(b"who,what,when\n" * 99)[:-9]}, ["log.csv.zst"], "cannot be decompressed"),
        ({"log.csv.zst": zstd(b"who,what,when\n\xff,1,1\n")}, ["log.csv.zst"], "is not UTF-8 throughout"),
        ({"log.parquet.gz": gzip.compress(b"PAR1", mtime=0)}, ["log.parquet.gz"], "Parquet file in an archive"),
        ({"log.json": '[{"who": 1}]'}, ["log.json"], "is one JSON list; expected an object a line"),
        ({"log.json": '{"who": 1, "what": 2, "at": 3}\n'}, ["log.json"], "has no column 'when'"),
        ({"log.json": "who,what\n"}, ["log.json"], "does not begin with a JSON object a line"),
        ({}, [], "expected the path of a log"),
        ({"2023": ""}, ["2023"], "2023 is empty"),
    ],
)
def test_files_that_are_no_log_are_one_line(
    tmp_path: Path, root: Path, files: dict[str, str | bytes], path: list[str], said: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=said) as caught:
        prepare(event_log([str(tmp_path / name) for name in path]), root)
    assert "\n" not in str(caught.value)


def test_bad_lines_of_json_are_counted_and_told(tmp_path: Path, root: Path) -> None:
    lines = ROWS.write_ndjson().splitlines()
    lines[3:3] = ['{"who": "u1", "what"', "", "[1, 2]", '{"who": "u1", "when": 1577836800}']
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    store = prepare(event_log(tmp_path / "log.jsonl", **SETTINGS), root)
    assert store.defects.dropped == {"not JSON": 2, "blank line": 1, "cut line": 1}
    assert store.defects.examples["not JSON"] == "log.jsonl, line 4"
    assert len(static(store, "item")) == len(ROWS)


def test_a_vocabulary_takes_what_its_text_takes_however_long_one_word_is(tmp_path: Path, root: Path) -> None:
    long = ROWS.with_columns(what=pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("x" * 20_000)).otherwise("what"))
    long.write_csv(tmp_path / "log.csv")
    store = prepare(event_log(tmp_path / "log.csv", **SETTINGS), root)
    sizes = {name: (store.folder / name).stat().st_size for name in store.manifest["files"]}
    assert 20_000 < sizes["vocabulary.item.npy"] < 21_000
    assert sum(size for name, size in sizes.items() if name.startswith(("vocabulary", "word_ends"))) < 25_000


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_lists_are_the_same_in_every_format(tmp_path: Path, root: Path, ending: str) -> None:
    tags = pl.concat_list(pl.lit("a"), "did", pl.lit(None, pl.String), pl.col("age").cast(pl.String))
    log, path = ROWS.with_columns(tags=tags), tmp_path / f"log.{ending}"
    if ending == "parquet":
        log.write_parquet(path)
    elif ending == "jsonl":
        log.write_ndjson(path)
    else:
        log.with_columns(pl.col("tags").list.eval(pl.element().drop_nulls()).list.join("|")).write_csv(path)
    columns = {**COLUMNS, "label": "clicked"}
    listed = {"context_fields": ["tags"], "list_fields": {"tags": "|"}}
    store = prepare(event_log(path, columns=columns, **listed), root)
    members = {tuple(sorted(["a", did, str(age)])) for did, age in ROWS.select("did", "age").iter_rows()}
    assert {tuple(cell.split("|")) for cell in store.vocabulary("tags")} == {tuple(sorted(each)) for each in members}
    assert len(static(store, "tags")) == len(ROWS)
