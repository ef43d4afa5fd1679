"""Database servers that are stopped, killed, frozen or locked: clear errors, and recovery by itself."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from kaname.errors import KanameError, Unavailable
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database
from tests.databases import PASSWORD, DatabaseServer, backend_at, mariadb_server, open_at, postgres_server
from tests.processes import until

pytestmark = pytest.mark.slow
SERVERS = {"postgresql": postgres_server, "mariadb": mariadb_server}


@pytest.fixture(params=SERVERS)
def own(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """A server that this test may hurt."""
    with SERVERS[request.param]() as server:
        yield server


@pytest.fixture(params=["postgres", "mariadb"])
def shared(request: pytest.FixtureRequest) -> DatabaseServer:
    """A server that goes on."""
    found: DatabaseServer = request.getfixturevalue(request.param)
    return found


def change(database: Database) -> int:
    with database.write() as conn:
        return journal.append(conn, at_us=1, who="w", action="a", subject="s", detail={})


def read(database: Database) -> int:
    with database.read() as conn:
        return journal.latest(conn)


def works(database: Database) -> bool:
    try:
        return change(database) > 0
    except Unavailable:
        return False


def refused(database: Database, what: Callable[[Database], object]) -> Unavailable:
    with pytest.raises(Unavailable, match="cannot be used now") as caught:
        what(database)
    assert caught.value.where == database.place
    assert caught.value.retry_after_s == 1.0
    assert PASSWORD not in str(caught.value)
    return caught.value


def test_a_server_that_was_restarted_costs_no_error(own: DatabaseServer) -> None:
    """While it is away each use says so at once; once it is back the first use succeeds, on old connections too."""
    database = open_at(own.create())
    assert change(database) == 1
    own.stop()
    for use in (change, Database.journal_number, read):
        refused(database, use)
    own.server.start()
    assert database.journal_number() == 1
    assert change(database) == 2
    own.stop()
    own.server.start()
    assert change(database) == 3
    database.close()


def test_a_server_killed_in_the_middle_of_a_change_undoes_it(own: DatabaseServer) -> None:
    """kill -9 before the commit: the change is refused with the reason, and is not there afterwards."""
    database = open_at(own.create())

    def interrupted(database: Database) -> None:
        with database.write() as conn:
            journal.append(conn, at_us=1, who="w", action="a", subject="s", detail={})
            own.kill()
            conn.execute(text("SELECT 1"))

    refused(database, interrupted)
    own.server.start()
    until(lambda: works(database), "it takes changes again")
    assert database.journal_number() == 1
    database.close()


def test_a_frozen_server_is_waited_for_no_longer_than_agreed(own: DatabaseServer) -> None:
    """Its connections stay open and say nothing: each use ends in time; after it is thawed all is well."""
    database = open_at(own.create(), timeout_s=1.0)
    assert change(database) == 1
    own.freeze()
    began = time.monotonic()
    refused(database, change)
    assert time.monotonic() - began < 8.0
    own.thaw()
    until(lambda: works(database), "it takes changes again")
    database.close()


def test_a_writer_that_waits_too_long_is_told_so(shared: DatabaseServer) -> None:
    """Somebody holds the row that numbers changes, on another machine perhaps; reading goes on."""
    url = shared.migrated()
    database, other = open_at(url, timeout_s=1.5), open_at(url)
    with other.write():
        error = refused(database, change)
        with database.read() as conn:
            assert journal.latest(conn) == 0
    assert "lock" in error.message.lower()
    assert change(database) == 1
    database.close()
    other.close()


def test_a_frozen_owner_of_the_lock_loses_it(shared: DatabaseServer) -> None:
    """A process that stops in the middle of a change holds up the others for three timeouts at most."""
    url = shared.migrated()
    frozen, database = open_at(url, timeout_s=1.0), open_at(url)
    with pytest.raises(Unavailable):
        _stop_in_the_middle(frozen, lambda: works(database))
    frozen.close()
    database.close()


def _stop_in_the_middle(database: Database, over: Callable[[], bool]) -> None:
    with database.write() as conn:
        until(over, "others go on")
        conn.execute(text("SELECT 1"))


def test_a_deadlock_ends_one_of_two_and_says_so(shared: DatabaseServer) -> None:
    """Two transactions that bypass the journal's lock and wait for each other: one goes on, one is told to repeat."""
    url = shared.migrated()
    database = open_at(url)
    with database.write() as conn:
        for number in (1, 2):
            journal.append(conn, at_us=number, who="w", action="a", subject="s", detail={})
    backend, met, ends = backend_at(url), threading.Barrier(2), list[KanameError | None]()

    def cross(first: int, second: int) -> None:
        try:
            with backend.engine.begin() as conn:
                for number in (first, second):
                    conn.execute(text("UPDATE journal SET at_us = at_us + 1 WHERE seq = :n"), {"n": number})
                    if number == first:
                        met.wait()
            ends.append(None)
        except DBAPIError as error:
            ends.append(backend.explain(error))

    threads = [threading.Thread(target=cross, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (told,) = [end for end in ends if end is not None]
    assert "in favour of another" in str(told)
    assert isinstance(told, Unavailable)
    assert len(ends) == 2
    backend.engine.dispose()
    database.close()


def test_a_wrong_password_names_the_database_and_not_the_password(shared: DatabaseServer) -> None:
    """What the server says is passed on; what was tried is not."""
    with pytest.raises(Unavailable, match=r"kaname") as caught:
        Database.open(shared.migrated(), password="another secret")
    assert "another secret" not in str(caught.value)
    assert str(shared.port) in str(caught.value)


def test_a_database_that_does_not_exist_is_named(shared: DatabaseServer) -> None:
    """The server is there; the database is not."""
    with pytest.raises(Unavailable, match="nowhere"):
        open_at(shared.url("nowhere"))


def test_a_standby_refuses_changes_and_is_read(postgres: DatabaseServer) -> None:
    """A server that is read-only, as a replica is, says so."""
    url = postgres.migrated()
    postgres.run(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    database = open_at(url)
    assert database.journal_number() == 0
    assert "read-only" in refused(database, change).message
    database.close()


def _fail(database: Database) -> None:
    with database.write() as conn:
        journal.append(conn, at_us=1, who="w", action="a", subject="s", detail={})
        raise ZeroDivisionError


def test_each_change_of_this_process_is_announced_once(url: str) -> None:
    """After its commit, with its number; what was rolled back, and what is no change, is not."""
    database = open_at(url)
    told: list[int] = []
    database.on_change = told.append
    change(database)
    with pytest.raises(ZeroDivisionError):
        _fail(database)
    with database.write():
        pass
    change(database)
    assert told == [1, 2]
    database.close()


@pytest.mark.parametrize(
    ("driver", "kind", "extra"), [("psycopg", "postgresql", "postgres"), ("pymysql", "mysql", "mysql")]
)
def test_a_missing_driver_names_the_extra(driver: str, kind: str, extra: str) -> None:
    """The error is the line that installs it."""
    code = (
        f"import sys; sys.modules[{driver!r}] = None\n"
        f"from kaname.storage.sql.database import Database\nDatabase.open('{kind}://me@127.0.0.1/d')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"pip install 'kaname[{extra}]'" in ran.stderr
