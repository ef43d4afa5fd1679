"""PostgreSQL through psycopg, whose only importer this is."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import Dialect as SqlDialect
from sqlalchemy.exc import DBAPIError

from kaname.storage.sql.server import LOCK_SHARE, POOL

if TYPE_CHECKING:
    from psycopg.abc import PQGen

T = TypeVar("T")
_UPGRADE_LOCK = 0x6B616E616D65  # "kaname"
_PASSING = ("08", "28", "3D", "53", "55", "57", "58")
"""Classes of SQLSTATE: connection, login, no such database, no room, locked, shut down, disk."""
_READ_ONLY = "25006"
_CONTENTION = ("40001", "40P01")
_NEVER_S = 1e9


class Postgres:
    """`Dialect` of PostgreSQL."""

    extra = "postgres"

    def engine(self, url: URL, timeout_s: float | None) -> Engine:
        """Reads see a snapshot (REPEATABLE READ, READ ONLY); writers are READ COMMITTED behind the journal's lock."""
        arguments = {"connect_timeout": max(2, round(timeout_s or 10))}
        pool_s = timeout_s or _NEVER_S
        engine = create_engine(
            url, isolation_level="READ COMMITTED", connect_args=arguments, pool_timeout=pool_s, **POOL
        )

        @event.listens_for(engine, "do_connect")
        def connect(_: SqlDialect, __: object, args: Any, options: Any) -> Bounded:
            return _connected(Bounded.connect(*args, **options), timeout_s)

        return engine

    def reading(self, conn: Connection) -> None:
        """One state throughout, even on a standby server."""
        conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def lock_schema(self, conn: Connection) -> None:
        """The lock is the session's."""
        conn.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _UPGRADE_LOCK})
        conn.commit()

    def is_passing(self, error: DBAPIError) -> bool:
        """An error without a state never reached the server."""
        state = _state_of(error)
        if state is None:
            return isinstance(error.orig, psycopg.OperationalError)
        return state == _READ_ONLY or state.startswith(_PASSING)

    def is_contention(self, error: DBAPIError) -> bool:
        """Deadlock, or a snapshot that another transaction has outrun."""
        return _state_of(error) in _CONTENTION


class Bounded(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed when an answer takes too long: a server that is frozen, or cut off, says nothing."""

    limit_s: float | None = None

    def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        """Drive one exchange with the server. Raises OperationalError when it takes longer than `limit_s`."""
        if self.limit_s is None:
            return super().wait(gen, *args, **options)
        return super().wait(_bounded(self, gen, self.limit_s), *args, **options)


def _bounded(conn: Bounded, exchange: PQGen[T], limit_s: float) -> Generator[Any, Any, T]:
    """The same exchange; psycopg resumes it at least every tenth of a second while nothing comes."""
    until = time.monotonic() + limit_s
    try:
        wanted = next(exchange)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > until:
                conn.close()
                raise psycopg.OperationalError(f"no answer within {limit_s:g} s")
            wanted = exchange.send(ready)
    except StopIteration as end:
        found: T = end.value
        return found


def _connected(conn: Bounded, timeout_s: float | None) -> Bounded:
    """Have the server end by itself what takes too long: waits for locks, transactions whose owner has been frozen."""
    conn.limit_s = timeout_s
    if timeout_s is None:
        return conn
    try:
        conn.autocommit = True
        conn.execute(f"SET lock_timeout = {round(timeout_s * 1000 * LOCK_SHARE)}")
        conn.execute(f"SET idle_in_transaction_session_timeout = {round(timeout_s * 3000)}")
        conn.autocommit = False
    except BaseException:
        conn.close()
        raise
    return conn


def _state_of(error: DBAPIError) -> str | None:
    return error.orig.sqlstate if isinstance(error.orig, psycopg.Error) else None
