"""A database with keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kaname.access.keys import Keys
from kaname.clock import ManualClock
from kaname.storage.sql.database import Database
from tests.databases import open_at


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still."""
    return ManualClock()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A fresh project's database, of each kind."""
    made = open_at(url)
    yield made
    made.close()


@pytest.fixture
def keys(database: Database, clock: ManualClock) -> Keys:
    """Its keys."""
    return Keys(database, clock)
