"""The control plane's database: short consistent reads, serialised writes, several processes on one file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from kaname.errors import CorruptData, InvalidInput, Unavailable
from kaname.storage.sql import upgrade
from kaname.storage.sql.watch import JournalWatch

_BUSY_S = 30.0
_BEGIN = "kaname_begin"


class Database:
    """One SQLite file in WAL mode, with every commit on disk before it returns (`synchronous=FULL`).

    Threads of a process queue for a lock of their own before they queue for the file's: SQLite's waiting is a
    poll that is not fair. Transactions do not nest: a `write` inside a `write` would wait for itself.
    """

    def __init__(self, engine: Engine, path: Path, *, create: bool) -> None:
        self._engine = engine
        self._create = create
        self._path = path
        self._watch: JournalWatch | None = None
        self._opening = threading.Lock()
        self._writing = threading.Lock()

    @classmethod
    def open(cls, url: str, *, busy_s: float = _BUSY_S) -> Database:
        """Open `sqlite:///path`, creating the file and bringing its schema up to date.

        `busy_s`: how long a writer waits for another process. Raises InvalidInput for another kind of database,
        Conflict when the schema is newer than this code, Unavailable when the file cannot be opened or stays locked,
        CorruptData when it is no database.
        """
        database = cls._of(url, busy_s, create=True)
        try:
            database._opened()
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def later(cls, url: str, *, busy_s: float = _BUSY_S) -> Database:
        """One that exists already, opened at its first use: each use raises what `open` does until it can be opened.

        A file that has gone is not made anew: an empty registry in place of a lost one would stop what answers.
        """
        return cls._of(url, busy_s, create=False)

    @classmethod
    def _of(cls, url: str, busy_s: float, *, create: bool) -> Database:
        parsed = _parse(url)
        return cls(_engine(parsed, busy_s), Path(str(parsed.database)), create=create)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout, and delays no writer."""
        with self._transaction("BEGIN") as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that no other writer overlaps; it commits at the end, or rolls back on an exception.

        Raises Unavailable when another process keeps the file locked for too long, or the disk is full.
        """
        with self._writing, self._transaction("BEGIN IMMEDIATE") as conn:
            yield conn

    def journal_number(self) -> int:
        """The number of the last committed change, cheap enough to ask every 20 ms (see `JournalWatch`)."""
        with _explained(self._path):
            return (self._watch or self._opened()).number()

    def close(self) -> None:
        """Close all connections; nothing is called afterwards."""
        if self._watch is not None:
            self._watch.close()
        self._engine.dispose()

    def _opened(self) -> JournalWatch:
        with self._opening, _explained(self._path):
            if self._watch is None:
                if not self._create and _is_gone(self._path):
                    raise Unavailable("the database is gone", where=str(self._path), expected="a copy put back")
                self._path.parent.mkdir(parents=True, exist_ok=True)
                upgrade.to_head(self._engine, self._path)
                self._watch = JournalWatch(self._path)
            return self._watch

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        if self._watch is None:
            self._opened()
        with _explained(self._path), self._engine.connect() as conn:
            conn.execution_options(**{_BEGIN: begin})
            with conn.begin():
                yield conn


def _is_gone(path: Path) -> bool:
    """Whether there is no database: SQLite would take an empty file for a new one."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise InvalidInput("not a database that this installation can open", found=url, expected="sqlite:///PATH")
    return parsed


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
def _explained(path: Path) -> Iterator[None]:
    """Turn what the disk or another process does to us into an error that says so."""
    try:
        yield
    except (OperationalError, sqlite3.OperationalError) as error:
        reason = str(error.orig if isinstance(error, OperationalError) else error)
        if not any(word in reason for word in ("locked", "busy", "full", "readonly", "unable to open", "disk I/O")):
            raise
        hint = "another process holds it" if "locked" in reason or "busy" in reason else "check the disk"
        raise Unavailable(
            f"the database cannot be used now ({reason}): {hint}", where=str(path), retry_after_s=1.0
        ) from error
    except (DatabaseError, sqlite3.DatabaseError) as error:
        reason = str(error.orig if isinstance(error, DatabaseError) else error)
        if not any(word in reason for word in ("malformed", "not a database")):
            raise
        raise CorruptData(f"the database is damaged ({reason}): restore it from a copy", where=str(path)) from error
