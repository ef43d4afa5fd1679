"""A database with keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kaname.access.keys import Keys
from kaname.clock import ManualClock
from kaname.storage.sql.database import Database
from tests.databases import open_database


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still."""
    return ManualClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A fresh project's database."""
    made = open_database(tmp_path / "kaname.db")
    yield made
    made.close()


@pytest.fixture
def keys(database: Database, clock: ManualClock) -> Keys:
    """Its keys."""
    return Keys(database, clock)
