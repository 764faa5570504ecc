"""Each rule of ``data.splits`` against a loop over the rows of a small log, which has ties, repeats and short users."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mdaf.data.event_log import EventLogFile
from mdaf.data.preparing.checking.leakage import leakage_check
from mdaf.data.preparing.prepare import prepare
from mdaf.data.schema import FIRST_ID
from mdaf.data.store.event_store import SPLITS, EventStore
from mdaf.data.store.manifest import read_manifest, write_manifest
from mdaf.data.store.promises import PROMISE, SENTENCES, promise_of
from mdaf.errors import DataError, LeakageError
from tests.data.logs import DAY, user_behavior, write_rows
from tests.data.test_event_log import START, event_log, raw, write

NAMES = ["user", "item", "did", "clicked", "time"]
COLUMNS = {"user": "user", "item": "item", "time": "time"}
Row = tuple[str, str, str, int, int]


def made(rows: int = 600, seed: int = 0) -> list[Row]:
    """Rows of users with many and with few rows, several of them in one second, and some of them twice."""
    random = np.random.default_rng(seed)
    users = [f"u{int(number)}" for number in random.exponential(15, rows)]
    found: list[Row] = [
        (
            user,
            f"i{random.integers(12)}",
            "view" if random.random() < 0.7 else "cart",
            int(random.random() < 0.4),
            START + int(random.integers(4)) * DAY + int(random.integers(6)),
        )
        for user in users
    ]
    return found + [found[number] for number in random.integers(0, rows, 60)]


LOG = made()


def rows_of(store: EventStore, split: str) -> list[tuple]:
    """Each sample: user, item, time, label and the items of its history."""
    samples = store.samples[split]
    user, item = (raw(store, name, samples.static[name]) for name in ("user", "item"))
    found = []
    for n in range(len(samples)):
        history = store.events["item"][store.user_offsets[samples.user[n]] : samples.end[n]]
        found.append((user[n], item[n], int(samples.time[n]), int(samples.label[n]), *raw(store, "item", history)))
    return found


def by_user(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of each user by time; those of one second in the order of the log."""
    found = defaultdict(list)
    for row in rows:
        found[row[0]].append(row)
    return {user: sorted(mine, key=lambda row: row[4]) for user, mine in found.items()}


def left_out(rows: list[Row], view: str | None = None) -> dict[int, str]:
    """The split of each row, by ``id``, as one would do it by hand."""
    split = {}
    for mine in by_user(rows).values():
        shown = [row for row in mine if view in (None, row[2])]
        for row in mine:
            split[id(row)] = "train"
        if len(shown) >= 3:
            split[id(shown[-1])], split[id(shown[-2])] = "test", "validation"
    return split


def copies(rows: list[Row]) -> list[Row]:
    return [(*row,) for row in rows]


def labelled(folder: Path, rows: list[Row], name: str = "log.csv", **settings: object) -> EventLogFile:
    path = write(folder, pl.DataFrame(rows, schema=NAMES, orient="row"), name)
    return event_log(path, columns={**COLUMNS, "label": "clicked"}, **settings)


def expected_of_labelled(rows: list[Row], split: dict[int, str], name: str) -> list[tuple]:
    found = []
    for mine in by_user(rows).values():
        for row in mine:
            if split[id(row)] == name:
                before = (other[1] for other in mine if other[4] < row[4] and other[3])
                found.append((row[0], row[1], row[4], row[3], *before))
    return sorted(found)


def known_items(store: EventStore) -> set[str]:
    return set(store.vocabulary("item")[: store.schema.tables["item"] - FIRST_ID].tolist())


def test_of_impressions_each_users_last_one_tests_and_the_one_before_it_validates(tmp_path: Path, root: Path) -> None:
    log = copies(LOG)
    late = [("u0", "only in the test", "view", 1, START + 9 * DAY), ("u1", "too", "view", 0, START + 9 * DAY)]
    log += copies(late)  # type: ignore[arg-type]
    split = left_out(log)
    store = prepare(labelled(tmp_path, log, splits="leave_one_out"), root)
    for name in SPLITS:
        assert sorted(rows_of(store, name)) == expected_of_labelled(log, split, name)
    assert known_items(store) == {row[1] for row in log if split[id(row)] == "train"}
    assert promise_of(store) == "within_users"
    blocks = labelled(tmp_path, log, "log.parquet", splits="leave_one_out", memory_gb=2e-5)
    parts = prepare(blocks, tmp_path / "in parts")
    assert read_manifest(store.folder)["crc32"] == read_manifest(parts.folder)["crc32"]


@pytest.mark.parametrize("view", [None, "view"])
def test_of_events_each_users_last_one_is_the_positive_of_the_test(
    tmp_path: Path, root: Path, view: str | None
) -> None:
    path = write(tmp_path, pl.DataFrame(LOG, schema=NAMES, orient="row"))
    columns = {**COLUMNS, "behaviour": "did"}
    settings = {"columns": columns, "view": view, "splits": "leave_one_out", "max_bad_fraction": 1}
    store = prepare(event_log(path, **settings), root)
    log, told = [], set()
    for row in copies(LOG):  # of rows that repeat all that is read of them, the first alone is an event
        key = (row[0], row[1], row[2], row[4])
        if key not in told:
            told.add(key)
            log.append(row)
    split = left_out(log, view)
    for name in SPLITS:
        expected = []
        for mine in by_user(log).values():
            for row in mine:
                before = [other[1] for other in mine if other[4] < row[4]]
                if split[id(row)] == name and before and view in (None, row[2]):
                    expected.append((row[0], row[1], row[4], 1, *before))
        assert sorted(row for row in rows_of(store, name) if row[3]) == sorted(expected)
        shown = [(row[1], row[4] // DAY) for row in log if split[id(row)] == name and view in (None, row[2])]
        for _, item, time, label, *_ in rows_of(store, name):
            assert label or any(other == item and day <= time // DAY for other, day in shown), "it is of later rows"
    blocks = write(tmp_path, pl.DataFrame(LOG, schema=NAMES, orient="row"), "log.parquet")
    parts = prepare(event_log(blocks, memory_gb=2e-5, **settings), tmp_path / "in parts")
    assert read_manifest(store.folder)["crc32"] == read_manifest(parts.folder)["crc32"]


def test_whole_users_go_to_one_split_the_same_one_in_every_log(tmp_path: Path, root: Path) -> None:
    log = copies(LOG)
    shares = {"splits": "user", "validation_share": 0.25, "test_share": 0.25, "max_bad_fraction": 1}
    store = prepare(labelled(tmp_path, log, **shares), root)
    users = {name: {row[0] for row in rows_of(store, name)} for name in SPLITS}
    assert set.union(*users.values()) == {row[0] for row in log}
    assert sum(map(len, users.values())) == len({row[0] for row in log})
    assert all(len(mine) >= 5 for mine in users.values())
    split = {id(row): name for name, mine in users.items() for row in log if row[0] in mine}
    for name in SPLITS:
        assert sorted(rows_of(store, name)) == expected_of_labelled(log, split, name)
    assert known_items(store) == {row[1] for row in log if row[0] in users["train"]}
    assert set(store.vocabulary("user")[: store.schema.tables["user"] - FIRST_ID]) == users["train"]
    assert promise_of(store) == "users"
    other = prepare(event_log(write(tmp_path, pl.DataFrame(made(seed=1), schema=NAMES, orient="row")),
                              columns=COLUMNS, **shares), root)  # fmt: skip
    for name in SPLITS:
        assert not {row[0] for row in rows_of(other, name)} & (set.union(*users.values()) - users[name])
    assert promise_of(other) == "users"


@pytest.mark.parametrize("rule", ["user", "leave_one_out"])
def test_taobaos_log_is_split_by_the_same_rules(tmp_path: Path, root: Path, rule: str) -> None:
    shares = {"validation_share": 0.3, "test_share": 0.3} if rule == "user" else {}
    log = [
        (number % 40, number * 7 % 11, number * 7 % 11 % 3, "pv", 1_511_539_200 + number * 900) for number in range(800)
    ]
    source = user_behavior(write_rows(tmp_path / "log.csv", log), splits=rule, negatives=1, **shares)
    store = prepare(source, root)
    positives = {name: [row for row in rows_of(store, name) if row[3]] for name in SPLITS}
    if rule == "user":
        users = [{row[0] for row in rows} for rows in positives.values()]
        assert set.union(*users) == set(range(40))
        assert sum(map(len, users)) == 40
        return
    last = {user: [row for row in log if row[0] == user][-2:] for user in range(40)}
    for place, name in enumerate(("validation", "test")):
        assert sorted(row[:3] for row in positives[name]) == sorted(
            (two[place][0], two[place][1], two[place][4]) for two in last.values()
        )


SAMPLES = ["user", "item", "time", "label", "split"]
SHORT = {"train": "train", "validation": "val", "test": "test"}
SAMPLE_COLUMNS = {name: name for name in SAMPLES}


def given(folder: Path, root: Path, split: dict[int, str], log: list[Row]) -> EventStore:
    """The store of a log with all its rows as samples of the given splits."""
    samples = [(row[0], row[1], row[4], row[3], SHORT[split[id(row)]]) for row in log]
    path = write(folder, pl.DataFrame(samples, schema=SAMPLES, orient="row"), "samples.csv")
    clicks = [row for row in log if row[3]]
    events = write(folder, pl.DataFrame(clicks, schema=NAMES, orient="row"))
    return prepare(event_log(events, columns=COLUMNS, samples_path=str(path), sample_columns=SAMPLE_COLUMNS), root)


def by(rule: str, log: list[Row]) -> dict[int, str]:
    """The split of each row by a rule of one's own."""
    split = left_out(log)
    if rule == "users":
        return {id(row): SPLITS[int(row[0][1:]) % 3] for row in log}
    if rule == "training_first_within_users":  # some users have their test before their validation
        swapped = {"test": "validation", "validation": "test", "train": "train"}
        return {id(row): swapped[split[id(row)]] if int(row[0][1:]) % 2 else split[id(row)] for row in log}
    if rule == "none":
        return {id(row): SPLITS[number % 3] for number, row in enumerate(log)}
    return split


@pytest.mark.parametrize("rule", ["within_users", "users", "training_first_within_users", "none"])
def test_a_file_of_samples_is_taken_as_it_is_and_the_promise_is_found_that_holds(
    tmp_path: Path, root: Path, rule: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = copies(LOG)
    split = by(rule, log)
    store = given(tmp_path, root, split, log)
    for name in SPLITS:
        assert sorted(rows_of(store, name)) == expected_of_labelled(log, split, name)
    assert promise_of(store) == rule
    assert (SENTENCES["none"] in caplog.text) == (rule == "none")
    manifest = read_manifest(store.folder)
    claims = {"within_users": "users", "training_first_within_users": "within_users", "none": "within_users"}
    if rule in claims:
        write_manifest(store.folder, {**manifest, PROMISE: claims[rule]})
        with pytest.raises(
            LeakageError, match=r"a user (is in two splits|has a (training|validation) sample after one)"
        ):
            leakage_check(EventStore.open(store.folder))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"splits": "random"}, r"data\.splits=random: expected one of time, user, leave_one_out, given"),
        ({"splits": "given"}, r"give it as data\.samples_path=FILE"),
        ({"splits": "user", "samples_path": "s.csv"}, "the file of data.samples_path says"),
        ({"splits": "user", "held_out_users": 0.1}, r"data\.held_out_users: data\.splits=user says"),
        ({"splits": "leave_one_out", "validation_start": "2020-01-02", "test_start": "2020-01-03"}, "not by time"),
        ({"splits": "user", "validation_share": 0.9}, "less than 1 together"),
        ({"negatives_from": "past"}, r"data\.negatives_from=past: expected one of day, history, mixed"),
        ({"negatives_from": "mixed", "negatives": 1}, "needs two negatives or more"),
        ({"negatives_from": "history", "columns": {**COLUMNS, "label": "clicked"}}, "leave it out"),
    ],
)
def test_a_setting_of_splits_or_negatives_that_makes_no_sense_is_refused(wrong: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        event_log("log.csv", **{"columns": COLUMNS, "test_share": 0.1, **wrong})


def test_splits_by_time_are_the_store_that_they_were(tmp_path: Path, root: Path) -> None:
    path = write(tmp_path, pl.DataFrame(LOG, schema=NAMES, orient="row"))
    settings = {"negatives": 1, "max_bad_fraction": 1, "validation_start": "2020-01-03", "test_start": "2020-01-04"}
    stores = [prepare(event_log(path, columns=COLUMNS, **settings, **more), root) for more in ({}, {"splits": "time"})]
    assert stores[0].data_hash == stores[1].data_hash
    assert {"splits", "negatives_from"}.isdisjoint(stores[0].manifest["settings"])
    assert promise_of(stores[0]) == "time"
