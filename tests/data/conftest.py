"""Stores that many tests read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdaf.data.preparing.prepare import prepare
from mdaf.data.store.event_store import EventStore
from tests.data.logs import REAL_LOG, synthetic, user_behavior


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test outlives a power cut: waiting for the disk would take most of the time of preparing a tiny store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def synthetic_store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    """A tiny synthetic log, prepared."""
    return prepare(synthetic(), tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="session")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    """Taobao's log, prepared at the config's defaults."""
    source = user_behavior(REAL_LOG, min_count={"user": 2, "item": 5, "category": 2})
    return prepare(source, tmp_path_factory.mktemp("stores"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a test's stores lie."""
    return tmp_path / "stores"
