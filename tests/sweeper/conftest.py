"""A study database that a test creates is a copy of an empty one: Optuna takes its time to make it."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import sqlalchemy as sa

from mdaf.sweeper.storage import sqlite_file
from tests.sweeper.tiny import empty_database


def _copied(_parsed: sa.URL, file: Path) -> None:
    """In the place of ``sqlite_file.create``: other processes see either no file or a complete one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    draft.write_bytes(empty_database())
    with contextlib.suppress(FileExistsError):
        os.link(draft, file)
    draft.unlink()


@pytest.fixture(autouse=True)
def _database_is_copied(request: pytest.FixtureRequest) -> Iterator[None]:
    """The tests of the storage itself have Optuna make it."""
    if "storage" in request.path.parts:
        yield
        return
    empty_database()
    with patch.object(sqlite_file, "create", _copied):  # the fixture ``monkeypatch`` would be undone later than it is
        yield
