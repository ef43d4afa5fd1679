"""SQLite: one file in WAL mode, every commit on disk before it returns (`synchronous=FULL`)."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from kaname.errors import CorruptData, KanameError, Unavailable
from kaname.storage.sql.watch import JournalWatch

_BEGIN = "kaname_begin"
_PASSING = ("locked", "busy", "full", "readonly", "unable to open", "disk I/O")
_DAMAGED = ("malformed", "not a database")


class Sqlite:
    """`Backend` of a file."""

    is_server = False

    def __init__(self, url: URL, busy_s: float) -> None:
        """`busy_s`: how long a writer waits for another process."""
        self._path = Path(str(url.database))
        self.place = str(self._path)
        self.engine = _engine(url, busy_s)

    def is_gone(self) -> bool:
        """Whether there is no database: SQLite would take an empty file for a new one."""
        try:
            return self._path.stat().st_size == 0
        except FileNotFoundError:
            return True

    def begin(self, conn: Connection, *, writing: bool) -> AbstractContextManager[object]:
        """A writer has the file to itself; its thread waits for other processes."""
        conn.execution_options(**{_BEGIN: "BEGIN IMMEDIATE" if writing else "BEGIN"})
        return conn.begin()

    def is_prepared(self, conn: Connection) -> bool:
        """Whether the file is in WAL mode."""
        return bool(conn.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal")

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """All of it is one transaction: a process killed half way leaves the schema as it was."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(self._path), self.engine.connect() as conn:
            driver = conn.connection.cursor()  # the pragmas below work only outside a transaction
            driver.execute("PRAGMA journal_mode=WAL")
            driver.execute("PRAGMA foreign_keys=OFF")  # a batch migration rebuilds tables that others refer to
            driver.close()
            try:
                with self.begin(conn, writing=True):
                    yield conn
            finally:
                conn.invalidate()  # its pragmas are not those of the pool's other connections

    def explain(self, error: Exception) -> KanameError | None:
        """A file that is locked, full, gone or damaged."""
        if not isinstance(error, DatabaseError | sqlite3.DatabaseError):
            return None
        reason = str(error.orig if isinstance(error, DatabaseError) else error)
        if isinstance(error, OperationalError | sqlite3.OperationalError) and any(word in reason for word in _PASSING):
            hint = "another process holds it" if "locked" in reason or "busy" in reason else "check the disk"
            said = f"the database cannot be used now ({reason}): {hint}"
            return Unavailable(said, where=self.place, retry_after_s=1.0)
        if any(word in reason for word in _DAMAGED):
            return CorruptData(f"the database is damaged ({reason}): restore it from a copy", where=self.place)
        return None

    def watch(self) -> JournalWatch:
        """A watch with a connection of its own."""
        return JournalWatch(self._path)


def _engine(url: URL, busy_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": busy_s, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # sqlite3: we say BEGIN ourselves
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        conn.exec_driver_sql(conn.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time: switching to WAL fails at once, instead of waiting, when another has the file open."""
    fd = os.open(path.with_name(path.name + "-upgrade"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
