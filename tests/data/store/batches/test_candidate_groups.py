from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from mdaf.data.preparing.prepare import prepare
from mdaf.data.store.batches.candidate_groups import candidate_groups
from mdaf.data.store.event_store import MANIFEST, SPLITS, EventStore
from mdaf.data.store.manifest import CANDIDATE_GROUPS
from tests.data.stores import as_before_checksums
from tests.data.test_event_log import COLUMNS, ROWS, SAMPLE_COLUMNS, event_log, write


def older(store: EventStore, folder: Path) -> EventStore:
    """The same store as an earlier version wrote it."""
    copy = Path(shutil.copytree(store.folder, folder / "older"))
    as_before_checksums(copy)
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest[CANDIDATE_GROUPS]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    return EventStore.open(copy)


def test_a_positive_and_the_negatives_after_it_are_a_group(tmp_path: Path, root: Path) -> None:
    lonely = ROWS.with_columns(what=pl.when(pl.col("when") // 86_400 % 10 == 7).then(pl.lit("i1")).otherwise("what"))
    store = prepare(event_log(write(tmp_path, lonely)), root)  # on some days there is nothing else to draw
    for split in SPLITS:
        number, expected = -1, []
        for label in store.samples[split].label.tolist():
            number += label
            expected.append(number)
        for written in (store, older(store, tmp_path / split)):
            groups = candidate_groups(written, split)
            assert groups is not None
            assert groups.tolist() == expected
    groups = candidate_groups(store, "train")
    assert groups is not None
    assert {1, 3} <= set(pl.Series(groups).value_counts()["count"])


@pytest.mark.parametrize("kind", ["label", "buy", "given"])
def test_the_samples_of_other_logs_are_in_no_groups(tmp_path: Path, root: Path, kind: str) -> None:
    columns: dict = {**COLUMNS, "behaviour": "did"}
    settings: dict = {"columns": columns}
    log = ROWS.with_columns(
        who=pl.format("u{}", pl.int_range(240) // 3 % 5), what=pl.format("i{}", pl.int_range(240) // 2 % 7)
    )
    if kind == "label":
        columns["label"] = "clicked"
    elif kind == "buy":
        settings |= {"task": "buy", "view": "view", "purchase": "buy"}
    else:
        split = pl.Series(["train"] * 180 + ["val"] * 30 + ["test"] * 30)
        given = log.select("who", "what", "when", "clicked", split.alias("split"))
        settings["samples_path"] = str(write(tmp_path, given, "samples.csv"))
        settings["sample_columns"] = {
            **SAMPLE_COLUMNS,
            "user": "who",
            "item": "what",
            "time": "when",
            "label": "clicked",
        }
        settings["sample_columns"].pop("category")
    store = prepare(event_log(write(tmp_path, log), **settings), root)
    assert candidate_groups(store, "test") is None
    assert candidate_groups(older(store, tmp_path), "test") is None
