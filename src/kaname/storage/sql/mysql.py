"""MariaDB and MySQL through PyMySQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from kaname.storage.sql.server import LOCK_SHARE, POOL

_UPGRADE_LOCK = "kaname.upgrade"
_NEVER_S = 1_000_000
_CONTENTION = (1213,)
_PASSING = frozenset({
    0, 1021, 1040, 1041, 1044, 1045, 1049, 1053, 1114, 1129, 1130, 1158, 1159, 1160, 1161, 1203, 1205, 1226, 1290, 1792,
    1836, 1927, 2002, 2003, 2006, 2013, 3024, 3168, 4031,
})  # fmt: skip
"""Numbers of errors: connection, login, no such database, no room, locked, read-only, shut down, time over."""


class Mysql:
    """`Dialect` of MariaDB and MySQL."""

    extra = "mysql"

    def engine(self, url: URL, timeout_s: float | None) -> Engine:
        """A transaction sees one state from its first read on (REPEATABLE READ); a writer's first read is behind the
        journal's lock, so it sees what all before it committed."""
        waits: dict[str, Any] = {"connect_timeout": max(2, round(timeout_s or 10))}
        if timeout_s is not None:
            waits |= {"read_timeout": timeout_s, "write_timeout": timeout_s}
        if url.password is not None:
            waits["password"] = str(url.password).encode()  # PyMySQL would encode text as Latin 1
        place = url._replace(password=None).update_query_dict({"charset": "utf8mb4"})
        engine = create_engine(place, connect_args=waits, pool_timeout=timeout_s or _NEVER_S, **POOL)

        @event.listens_for(engine, "connect")
        def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
            cursor = connection.cursor()
            for statement in _session(timeout_s):
                cursor.execute(statement)
            cursor.close()
            connection.commit()

        return engine

    def reading(self, conn: Connection) -> None:
        """Every transaction is one."""

    def lock_schema(self, conn: Connection) -> None:
        """The lock is the session's, one per database of the server."""
        name = {"name": f"{_UPGRADE_LOCK}.{conn.engine.url.database}"[-64:]}
        conn.execute(text("SELECT GET_LOCK(:name, 1000000)"), name)
        conn.commit()

    def is_passing(self, error: DBAPIError) -> bool:
        """Errors below 1000 and from 2000 to 2999 come from the driver."""
        return _number_of(error) in _PASSING

    def is_contention(self, error: DBAPIError) -> bool:
        """Deadlock."""
        return _number_of(error) in _CONTENTION


def _session(timeout_s: float | None) -> Iterator[str]:
    """Strict about what it stores, in UTC, and the same whatever the server's own defaults are."""
    modes = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
    yield f"SET SESSION sql_mode='{modes}', time_zone='+00:00'"
    yield "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
    if timeout_s is not None:
        yield f"SET SESSION innodb_lock_wait_timeout={max(1, int(timeout_s * LOCK_SHARE))}"
        # MariaDB only: a transaction whose owner has been frozen.
        yield f"/*M! SET SESSION idle_transaction_timeout={max(1, round(timeout_s * 3))} */"


def _number_of(error: DBAPIError) -> int | None:
    found = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return found if isinstance(found, int) else None
