"""Databases for tests: one is migrated per process, the others are copies of it, which is a hundred times faster."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from kaname.storage.sql.database import Database


@cache
def _migrated() -> Path:
    """An empty database."""
    path = Path(tempfile.mkdtemp()) / "empty.db"
    atexit.register(shutil.rmtree, path.parent)
    Database.open(f"sqlite:///{path}").close()
    return path


def open_database(path: Path) -> Database:
    """The database at `path`, an empty one when there is none."""
    if not path.exists():
        shutil.copyfile(_migrated(), path)
    return Database.open(f"sqlite:///{path}")
