"""Reads from servers that follow the database: never of an older state than asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text

from kaname.errors import Unavailable
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database
from tests.databases import PASSWORD, DatabaseServer, postgres_server, standby_of
from tests.processes import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[DatabaseServer, DatabaseServer]]:
    """A database server and its hot standby."""
    with postgres_server() as primary, standby_of(primary) as standby:
        yield primary, standby


@pytest.fixture
def database(pair: tuple[DatabaseServer, DatabaseServer]) -> Iterator[Database]:
    primary, standby = pair
    url = primary.migrated()
    name = url.rpartition("/")[2]
    until(lambda: standby.run("SELECT 1 FROM pg_database WHERE datname = '%s'" % name), "the standby has it")  # noqa: UP031
    opened = Database.open(url, password=PASSWORD, replicas=[standby.url(name)], timeout_s=2.0)
    yield opened
    opened.close()


def change(database: Database) -> int:
    with database.write() as conn:
        return journal.append(conn, at_us=1, who="w", action="a", subject="s", detail={})


def is_standby(conn: Connection) -> bool:
    return bool(conn.execute(text("SELECT pg_is_in_recovery()")).scalar_one())


def reads(database: Database, number: int | None) -> tuple[bool, int]:
    """Whether the standby was read, and the change that was seen."""
    with database.read_from(number) as conn:
        return is_standby(conn), journal.latest(conn)


def test_a_replica_is_read_when_it_has_what_is_needed(
    database: Database, pair: tuple[DatabaseServer, DatabaseServer]
) -> None:
    """While it is behind the database itself is read; without a number it always is."""
    standby = pair[1]
    number = change(database)
    until(lambda: reads(database, number)[0], "the standby has caught up")
    assert reads(database, number) == (True, number)
    assert reads(database, None) == (False, number)
    standby.run("SELECT pg_wal_replay_pause()")
    newer = change(database)
    assert reads(database, newer) == (False, newer)
    assert reads(database, number) == (True, number)
    standby.run("SELECT pg_wal_replay_resume()")
    until(lambda: reads(database, newer) == (True, newer), "the standby has caught up")


def test_a_fault_of_the_reader_is_no_fault_of_the_replica(database: Database) -> None:
    """What the body of a read raises goes to the caller, not to another server."""
    number = change(database)
    until(lambda: reads(database, number)[0], "the standby has caught up")
    with pytest.raises(ZeroDivisionError), database.read_from(number):
        raise ZeroDivisionError


def test_a_dead_replica_costs_nothing_but_its_help(
    database: Database, pair: tuple[DatabaseServer, DatabaseServer]
) -> None:
    """The database itself answers; when that is gone, too, the error names it."""
    primary, standby = pair
    number = change(database)
    until(lambda: reads(database, number)[0], "the standby has caught up")
    standby.kill()
    assert reads(database, number) == (False, number)
    standby.server.start()
    until(lambda: reads(database, number)[0], "it is read again", 30.0)
    primary.kill()
    assert reads(database, number) == (True, number)
    with pytest.raises(Unavailable, match=str(primary.port)):
        reads(database, None)
    primary.server.start()
