"""Whatever happens to a raw file, preparing it gives a store that counts the damage, or one clear line."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdaf.data.preparing.prepare import prepare
from mdaf.data.preparing.source import Source
from mdaf.data.store.event_store import EventStore
from mdaf.errors import DataError
from tests.data import test_event_log as event_logs
from tests.data import test_movielens as movielens
from tests.data import test_taobao_ad as taobao_ads
from tests.data.logs import ANCHOR, OTHER, user_behavior, write_rows

LENIENT = {"max_bad_fraction": 1.0}


def _user_behavior(folder: Path) -> tuple[Source, Path]:
    path = write_rows(folder / "log.csv", [*ANCHOR, *OTHER] * 3)
    return user_behavior(path, **LENIENT), path


def _movielens(kind: str) -> Callable[[Path], tuple[Source, Path]]:
    def make(folder: Path) -> tuple[Source, Path]:
        path = movielens.write(folder)
        return movielens.movielens(path, **LENIENT), path.with_suffix(f".{kind}")

    return make


def _taobao_ad(name: str) -> Callable[[Path], tuple[Source, Path]]:
    def make(folder: Path) -> tuple[Source, Path]:
        taobao_ads.write(folder)
        return taobao_ads.taobao_ad(folder, **LENIENT), folder / name

    return make


def _joined(folder: Path) -> tuple[Source, Path]:
    path = folder / "joined.csv"
    lines = (taobao_ads.joined_line(user, user % 2, [10, 11]) for user in range(1, 40))
    path.write_text("".join(f"{line}\n" for line in lines))
    return taobao_ads.joined(path, **LENIENT), path


def _event_log(name: str) -> Callable[[Path], tuple[Source, Path]]:
    def make(folder: Path) -> tuple[Source, Path]:
        path = event_logs.write(folder, name=name)
        columns = {**event_logs.COLUMNS, "category": "kind", "label": "clicked"}
        return event_logs.event_log(path, columns=columns, **LENIENT), path

    return make


SOURCES = {
    "user_behavior": _user_behavior,
    "movielens ratings": _movielens("inter"),
    "movielens items": _movielens("item"),
    "movielens users": _movielens("user"),
    "taobao_ad impressions": _taobao_ad("raw_sample.csv"),
    "taobao_ad ads": _taobao_ad("ad_feature.csv"),
    "taobao_ad profiles": _taobao_ad("user_profile.csv"),
    "taobao_ad behaviours": _taobao_ad("behavior_log.csv"),
    "taobao_ad_joined": _joined,
    "event_log csv": _event_log("log.csv"),
    "event_log parquet": _event_log("log.parquet"),
}


def attempt(source: Source, root: Path) -> tuple[EventStore | None, str]:
    """The store, or what is said instead."""
    try:
        return prepare(source, root), ""
    except DataError as error:
        return None, str(error)


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=5, deadline=None)
@given(share=st.floats(0, 1), junk=st.binary(max_size=12), cut=st.booleans())
def test_damage_is_counted_or_told_in_one_line(name: str, share: float, junk: bytes, cut: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, path = SOURCES[name](Path(folder))
        content = path.read_bytes()
        place = int(share * len(content))
        path.write_bytes(content[:place] + junk + (b"" if cut else content[place + len(junk) :]))
        root = Path(folder) / "stores"
        store, told = attempt(source, root)
        if store is None:
            assert "\n" not in told
            assert not root.exists() or not list(root.iterdir())
        else:  # prepare has checked the store for leakage; no line was lost on the way
            kept = store.defects.rows - sum(store.defects.dropped.values())
            assert kept > 0
            if name.startswith(("taobao_ad impressions", "movielens ratings")):
                behaviours = len(taobao_ads.BEHAVIOURS) if name.startswith("taobao") else 0
                assert sum(store.manifest["counts"]["samples"].values()) == kept - behaviours
