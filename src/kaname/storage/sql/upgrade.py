"""Bring a database to the schema of this code; safe when several processes open a new project at once.

A migration is a file `migrations/versions/NNNN_what.py` whose revision is `NNNN`: numbered in one line, so that the
newest is known without loading Alembic, which only a process that has something to migrate pays for.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from kaname.errors import Conflict

MIGRATIONS = Path(__file__).parent / "migrations"


def revisions() -> list[str]:
    """All schema revisions that this code knows, oldest first."""
    return sorted(file.name[:4] for file in (MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def revision_of(conn: Connection) -> str | None:
    """The revision of a database; None when it is empty."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    found = conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


def to_head(engine: Engine, path: Path) -> None:
    """Migrate the database at `path`, unless it is at the newest revision already.

    All of it is one transaction: a process killed half way leaves the schema as it was. Raises Conflict when the
    database was written by newer code.
    """
    known = revisions()
    with engine.connect() as conn:
        if _settled(conn, known, path):
            return
    with _alone(path), engine.connect() as conn:
        if not _settled(conn, known, path):
            _migrate(conn)


def _settled(conn: Connection, known: list[str], path: Path) -> bool:
    """Whether nothing is left to do."""
    found = revision_of(conn)
    if found is not None and found not in known:
        raise Conflict(
            "the database was written by a newer version of kaname: upgrade this one, or open another project",
            where=str(path),
            found=f"schema {found}",
            expected=f"at most {known[-1]}",
        )
    wal = conn.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    conn.rollback()
    return wal and found == known[-1]


def _migrate(conn: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    driver = conn.connection.cursor()  # the pragmas below work only outside a transaction
    driver.execute("PRAGMA journal_mode=WAL")
    driver.execute("PRAGMA foreign_keys=OFF")  # a batch migration rebuilds tables that others refer to
    driver.close()
    try:
        conn.execution_options(kaname_begin="BEGIN IMMEDIATE")
        with conn.begin():
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
            config.attributes["connection"] = conn
            command.upgrade(config, "head")
    finally:
        conn.invalidate()  # its pragmas are not those of the pool's other connections


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time: switching to WAL fails at once, instead of waiting, when another has the file open."""
    fd = os.open(path.with_name(path.name + "-upgrade"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
