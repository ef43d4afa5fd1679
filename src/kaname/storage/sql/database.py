"""The control plane's database: short consistent reads, writers in a line, many processes on one file or server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection

from kaname.errors import Unavailable
from kaname.storage.sql import journal, upgrade
from kaname.storage.sql.address import backend_of
from kaname.storage.sql.explained import explained
from kaname.storage.sql.replicas import Replicas
from kaname.storage.sql.types import Backend, Watch

BUSY_S = 30.0
TIMEOUT_S = 10.0


class Database:
    """A SQLite file, or a database of a PostgreSQL, MariaDB or MySQL server.

    Threads of a process queue for a lock of their own before they queue for the database's: SQLite's waiting is a
    poll that is not fair. Transactions do not nest: a `write` inside a `write` would wait for itself.
    """

    def __init__(self, backend: Backend, replicas: Replicas, *, create: bool, busy_s: float) -> None:
        self._backend = backend
        self._replicas = replicas
        self._create = create
        self._busy_s = busy_s
        self._watch: Watch | None = None
        self._opening = threading.Lock()
        self._writing = threading.Lock()
        self.on_change: Callable[[int], None] | None = None
        """Called with the number of each change that this process has committed, on the thread that did."""

    @classmethod
    def open(
        cls,
        url: str,
        *,
        password: str | None = None,
        replicas: Sequence[str] = (),
        busy_s: float = BUSY_S,
        timeout_s: float = TIMEOUT_S,
    ) -> Database:
        """Open the database at `url` (see `address`), creating a file and bringing the schema up to date.

        `replicas`: URLs of servers that follow it. `busy_s`: how long a writer waits for others; `timeout_s`: how long
        for an answer of a server. Raises InvalidInput for another kind of database, MissingDependency without its
        driver, Conflict when the schema is newer than this code, Unavailable when it cannot be reached or stays locked,
        CorruptData when it is no database.
        """
        database = cls._of(url, password, replicas, busy_s, timeout_s, create=True)
        try:
            database._opened()
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def later(
        cls,
        url: str,
        *,
        password: str | None = None,
        replicas: Sequence[str] = (),
        busy_s: float = BUSY_S,
        timeout_s: float = TIMEOUT_S,
    ) -> Database:
        """One that exists already, opened at its first use: each use raises what `open` does until it can be opened.

        A file that has gone is not made anew: an empty registry in place of a lost one would stop what answers.
        """
        return cls._of(url, password, replicas, busy_s, timeout_s, create=False)

    @classmethod
    def _of(
        cls, url: str, password: str | None, replicas: Sequence[str], busy_s: float, timeout_s: float, *, create: bool
    ) -> Database:
        backends = [backend_of(one, password, busy_s=busy_s, timeout_s=timeout_s) for one in (url, *replicas)]
        return cls(backends[0], Replicas(backends[1:]), create=create, busy_s=busy_s)

    @property
    def place(self) -> str:
        """Where it is, for people; errors about the database as a whole name it in `where`."""
        return self._backend.place

    @property
    def is_server(self) -> bool:
        """Whether it is asked over a connection: slower than a file, and other nodes may use it."""
        return self._backend.is_server

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout, and delays no writer."""
        self._opened()
        with explained(self._backend), self._backend.engine.connect() as conn, self._backend.begin(conn, writing=False):
            yield conn

    @contextmanager
    def read_from(self, number: int | None) -> Iterator[Connection]:
        """The same, of a state that has change `number`: from a replica that is so far, else (or with None) from the
        database itself."""
        found = None if number is None else self._replicas.at_least(number)
        if found is None:
            with self.read() as conn:
                yield conn
        else:
            with explained(self._backend), found[0]:
                yield found[1]

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that no other writer overlaps; it commits at the end, or rolls back on an exception.

        Raises Unavailable when others keep the database locked for too long, it cannot be reached, or has no room.
        """
        self._opened()
        with self._in_turn(), explained(self._backend), self._backend.engine.connect() as conn:
            journal.taken(conn)  # left by a change that was rolled back
            with self._backend.begin(conn, writing=True):
                yield conn
            number = journal.taken(conn)
        if number is not None and self.on_change is not None:
            self.on_change(number)

    @contextmanager
    def aside(self) -> Iterator[Connection]:
        """A short transaction beside the writers', which it neither waits for nor delays (but in SQLite, which has one
        writer at a time): for rows that are no part of what the journal tells of."""
        self._opened()
        with explained(self._backend), self._backend.engine.connect() as conn, conn.begin():
            yield conn

    def revision(self) -> str | None:
        """The schema revision that it has, None before the first; asks without migrating."""
        if self._backend.is_gone():
            return None
        with explained(self._backend), self._backend.engine.connect() as conn:
            return upgrade.revision_of(conn)

    def migrate(self, revision: str) -> None:
        """Bring the schema to one revision, forward or back; `base`: to no tables. Raises InvalidInput for an unknown
        one. Only before its first other use."""
        with explained(self._backend):
            upgrade.to_revision(self._backend, revision)

    def journal_number(self) -> int:
        """The number of the last committed change: of a file cheap enough to ask every 20 ms on an event loop, of a
        server one round trip."""
        with explained(self._backend):
            return self._opened().number()

    def close(self) -> None:
        """Close all connections; nothing is called afterwards."""
        if self._watch is not None:
            self._watch.close()
        self._replicas.close()
        self._backend.engine.dispose()

    def _opened(self) -> Watch:
        if self._watch is not None:
            return self._watch
        with self._opening, explained(self._backend):
            if self._watch is None:
                if not self._create and self._backend.is_gone():
                    raise Unavailable("the database is gone", where=self.place, expected="a copy put back")
                upgrade.to_head(self._backend)
                self._watch = self._backend.watch()
            return self._watch

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        if not self._writing.acquire(timeout=self._busy_s):
            raise Unavailable("another change of this process is taking too long", where=self.place, retry_after_s=1.0)
        try:
            yield
        finally:
            self._writing.release()
