from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdaf.data.preparing.checking.deciding import WARN
from mdaf.data.preparing.prepare import prepare
from mdaf.data.schema import UNKNOWN
from mdaf.data.store.batches.histories import in_history
from mdaf.data.store.event_store import EventStore
from mdaf.errors import LeakageError
from tests.data.logs import DAY, START, user_behavior, write_rows
from tests.data.test_event_log import event_log

ROWS = 1500
COLUMNS = {"user": "user", "item": "item", "time": "time", "label": "clicked"}


def impressions() -> pl.DataFrame:
    """Random impressions of 40 users and 60 items, a quarter of them clicked; ``slot`` says nothing."""
    generator = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "user": generator.integers(40, size=ROWS),
            "item": generator.integers(60, size=ROWS),
            "time": START + np.arange(ROWS) * 500,
            "clicked": (generator.random(ROWS) < 0.25).astype(int),
            "slot": generator.integers(3, size=ROWS).astype(str),
        }
    )


def prepared(folder: Path, frame: pl.DataFrame, decided: str = "refuse", **settings: object) -> EventStore:
    frame.write_csv(folder / "log.csv")
    source = event_log(folder / "log.csv", columns=COLUMNS, item_fields=["slot"], **settings)
    return prepare(source, folder / "stores", decided=decided)


CLICKED, SLOT, NUMBER = pl.col("clicked") == 1, pl.col("slot"), pl.int_range(ROWS)
LEAKS: dict[str, Callable[[], pl.Expr]] = {
    "slot=won": lambda: pl.when(CLICKED).then(pl.lit("won")).otherwise(SLOT),
    "slot=lost": lambda: pl.when(~CLICKED & (NUMBER % 2 == 0)).then(pl.lit("lost")).otherwise(SLOT),
    "slot missing": lambda: pl.when(CLICKED).then(SLOT),
    "slot not missing": lambda: pl.when(CLICKED & (NUMBER % 3 > 0)).then(SLOT),
}


@pytest.mark.parametrize("fact", LEAKS)
def test_a_log_in_which_a_field_tells_the_label_is_refused_by_the_facts_name(tmp_path: Path, fact: str) -> None:
    with pytest.raises(LeakageError, match=rf"P\(positive \| {fact}\) = [01] over [\d,]+ train samples.*=warn"):
        prepared(tmp_path, impressions().with_columns(slot=LEAKS[fact]()))
    assert not list((tmp_path / "stores").glob("event_log-*"))


def test_such_a_log_is_prepared_with_a_warning_where_that_was_typed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        prepared(tmp_path, impressions().with_columns(slot=LEAKS["slot=won"]()), WARN)
    assert "P(positive | slot=won) = 1 over" in caplog.text
    with pytest.raises(LeakageError):  # where it was not typed, the store that is there is none
        prepared(tmp_path, impressions().with_columns(slot=LEAKS["slot=won"]()))


def test_a_log_in_which_a_field_nearly_tells_the_label_is_prepared_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slot = pl.when((CLICKED & (NUMBER % 3 > 0)) | (NUMBER < 3)).then(pl.lit("won")).otherwise(SLOT)
    with caplog.at_level(logging.WARNING):
        prepared(tmp_path, impressions().with_columns(slot=slot))
    assert "P(positive | slot=won) = 0.99" in caplog.text


def test_negatives_that_are_never_in_a_history_though_they_are_in_those_of_others_are_refused(tmp_path: Path) -> None:
    seen: dict[int, set[int]] = {}
    labels = []
    for user, item in impressions().select("user", "item").iter_rows():
        labels.append(int(item in seen.setdefault(user, set()) or len(seen[user]) < 8))
        seen[user] |= {item} if labels[-1] else set()
    with pytest.raises(LeakageError, match="item in history"):
        prepared(tmp_path, impressions().with_columns(clicked=pl.Series(labels)))


@pytest.mark.parametrize("kind", ["a rare value", "few users", "another catalogue", "a quiet hour"])
def test_a_fact_that_is_right_by_chance_or_by_nature_is_not_refused(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    frame = impressions()
    few = pl.col("user") < 4
    frame = {
        "a rare value": frame.with_columns(slot=pl.when(CLICKED & (NUMBER < 300)).then(pl.lit("x")).otherwise(SLOT)),
        "few users": frame.with_columns(
            slot=pl.when(few).then(pl.lit("x")).otherwise(SLOT), clicked=pl.when(few).then(0).otherwise("clicked")
        ),
        # Some items are clicked again and again, and what is not clicked is of a catalogue without an end.
        "another catalogue": frame.with_columns(
            item=pl.when(CLICKED & (NUMBER % 2 == 0)).then(pl.col("user")).otherwise(1000 + NUMBER), slot=pl.lit("x")
        ),
        "a quiet hour": frame.with_columns(
            clicked=pl.when((pl.col("time") - START) % DAY < 7200).then(0).otherwise("clicked")
        ),
    }[kind]
    with caplog.at_level(logging.WARNING):
        prepared(tmp_path, frame)
    assert "P(positive" not in caplog.text


views = st.fixed_dictionaries(
    {
        "users": st.integers(8, 30),
        "items": st.integers(12, 40),
        "repeats": st.floats(0.0, 0.8),
        "behaviours": st.sampled_from([("pv",), ("pv", "pv", "buy"), ("pv", "cart")]),
        "seed": st.integers(0, 99),
    }
)


@settings(max_examples=6, deadline=None)
@given(views, st.sampled_from([1, 4]), st.sampled_from([0.0, 0.3]))
def test_no_single_fact_tells_a_drawn_negative_from_a_positive(
    tmp_path_factory: pytest.TempPathFactory, log: dict, negatives: int, held_out_users: float
) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    path = write_rows(folder / "log.csv", visits(**log))
    source = user_behavior(path, negatives=negatives, held_out_users=held_out_users, min_count={"item": 3})
    store = prepare(source, folder / "stores")
    for split, samples in store.samples.items():
        label, every = np.asarray(samples.label), slice(0, len(samples))
        facts = {f"{name} in history": in_history(store, split, name, every) for name in ("item", "category")}
        for name, codes in samples.static.items():
            facts[f"{name} has a row"] = codes < store.schema.tables[name]
            facts[f"{name} missing"] = codes == UNKNOWN
            if name != "item":  # an item that is popular on a day may be nobody's next one
                facts |= {f"{name} {code}": codes == code for code in np.unique(codes).tolist()}
        decided = [
            fact for fact, rows in facts.items() if 100 <= rows.sum() < len(rows) and label[rows].mean() in (0, 1)
        ]
        assert decided == [], split


def visits(users: int, items: int, repeats: float, behaviours: tuple[str, ...], seed: int) -> list:
    """Nine days of views, of which a share repeats what the user viewed before."""
    generator = np.random.default_rng(seed)
    rows, before = [], [[int(generator.integers(items))] for _ in range(users)]
    for n in range(users * 45):
        user = n % users
        again = generator.random() < repeats
        item = int(generator.choice(before[user])) if again else int(generator.integers(items))
        before[user].append(item)
        rows.append((user, item, item % 5, behaviours[n % len(behaviours)], START + n * 9 * DAY // (users * 45)))
    return rows
