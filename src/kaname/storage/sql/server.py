"""What PostgreSQL and MariaDB have in common: a pool of connections that may break, and writers in a line.

All writers take the lock of one row (`journal_head`) first. So they never wait for each other in a circle, each sees
what those before it committed, and numbers of changes follow the order of commits, over all machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from sqlalchemy import URL, Connection, Engine, RootTransaction, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from kaname.errors import KanameError, MissingDependency, Unavailable
from kaname.storage.sql.schema import journal_head

POOL = {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 14, "pool_use_lifo": True, "pool_recycle": 600}
"""Each transaction first asks whether its connection still lives (one round trip), so that a server that was restarted
costs no error."""
LOCK_SHARE = 0.8
"""The server gives up waiting for a lock before we give up waiting for the server: its answer says why."""


class Dialect(Protocol):
    """What differs between the servers."""

    extra: str
    """The optional dependency that brings the driver."""

    def engine(self, url: URL, timeout_s: float | None) -> Engine:
        """Connections whose every answer must come within `timeout_s`; None: whenever it comes."""

    def reading(self, conn: Connection) -> None:
        """Make the next transaction one that sees one state throughout."""

    def lock_schema(self, conn: Connection) -> None:
        """Wait for the lock of whoever changes the schema; it is given back when the connection is closed."""

    def is_passing(self, error: DBAPIError) -> bool:
        """Whether trying again later may help: not the statement is wrong but its circumstances."""

    def is_contention(self, error: DBAPIError) -> bool:
        """Whether the transaction was undone for the sake of another one; at once is then soon enough."""


class Server:
    """`Backend` of a database server."""

    is_server = True

    def __init__(self, url: URL, dialect: Dialect, timeout_s: float) -> None:
        """Raises MissingDependency when the driver is not installed."""
        self._url = url
        self._dialect = dialect
        self._timeout_s = timeout_s
        self.place = url._replace(drivername=url.get_backend_name(), password=None).set(query={}).render_as_string()
        try:
            self.engine = dialect.engine(url, timeout_s)
        except ModuleNotFoundError as error:
            raise MissingDependency.of(error.name or dialect.extra, dialect.extra, "database.url") from error

    def is_gone(self) -> bool:
        """A server is not looked for before it is asked."""
        return False

    @contextmanager
    def begin(self, conn: Connection, *, writing: bool) -> Iterator[object]:
        """A writer waits for the one before it, wherever that is."""
        if not writing:
            self._dialect.reading(conn)
        with conn.begin() as transaction:
            if writing:
                conn.execute(select(journal_head.c.number).where(journal_head.c.id == 1).with_for_update())
            yield transaction
            self._commit(transaction)

    def _commit(self, transaction: RootTransaction) -> None:
        try:
            transaction.commit()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            said = f"the database went away while it committed ({reason_of(error)}): look whether the change was made"
            raise Unavailable(said, where=self.place, retry_after_s=1.0) from error

    def is_prepared(self, _: Connection) -> bool:
        """Nothing but tables is ours."""
        return True

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """As long as it takes; MariaDB commits after every statement, so each migration can be taken up again."""
        engine = self._dialect.engine(self._url, None)
        try:
            with engine.connect() as conn:
                self._dialect.lock_schema(conn)
                with conn.begin():
                    yield conn
        finally:
            engine.dispose()

    def explain(self, error: Exception) -> KanameError | None:
        """A server that is not there, does not answer, or has no room or no time for us."""
        if isinstance(error, PoolTimeout):
            return self._unavailable("all connections of this process are in use")
        if not isinstance(error, DBAPIError):
            return None
        if self._dialect.is_contention(error):
            return self._unavailable("it ended the transaction in favour of another one")
        if error.connection_invalidated or self._dialect.is_passing(error):
            return self._unavailable(reason_of(error))
        return None

    def _unavailable(self, reason: str) -> Unavailable:
        return Unavailable(f"the database cannot be used now ({reason})", where=self.place, retry_after_s=1.0)

    def watch(self) -> HeadWatch:
        """A watch on a connection of the pool."""
        return HeadWatch(self.engine)


class HeadWatch:
    """Reads the journal's number: one short statement."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def number(self) -> int:
        """The number of the last committed change."""
        with self._engine.connect() as conn:
            return int(conn.execute(select(journal_head.c.number).where(journal_head.c.id == 1)).scalar_one())

    def close(self) -> None:
        """The pool closes the connection."""


def reason_of(error: DBAPIError) -> str:
    """What the driver says, on one line."""
    text = str(error.orig.args[-1] if error.orig is not None and error.orig.args else error.orig)
    return " ".join(text.split()) or type(error.orig).__name__
