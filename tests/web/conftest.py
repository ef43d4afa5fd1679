"""The application that the tests of this folder ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.asking import Asker
from tests.web.notes import Notes


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    """A fresh application."""
    made = Notes(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def ask(notes: Notes) -> Asker:
    """Asks it as admin."""
    return Asker(notes.app, notes.admin)
