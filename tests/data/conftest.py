"""Stores that many tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.prepare import prepare
from data.store import EventStore
from tests.data.logs import REAL_LOG, synthetic, user_behavior


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
