"""Stores on real servers that are killed and frozen while they are used."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from kaname.cli.upkeep import DURABLE, cells
from kaname.clock import SystemClock
from kaname.errors import DeadlineExceeded, KanameError, Unavailable
from kaname.storage.cells.cassandra.driver import Session
from kaname.storage.cells.cassandra.statements import create, named
from kaname.storage.cells.cassandra.store import CassandraCells
from kaname.storage.cells.opening import cell_settings
from kaname.storage.cells.types import CellStore, Delete, Family, Mutation, Put, Table
from tests.cassandra_servers import SERVED, Cassandra
from tests.hbase_servers import Hbase
from tests.processes import until
from tests.servers import free_port

pytestmark = SERVED

TABLE = Table("hurt", {"f": Family(), "g": Family()})
WRITERS = 4
TIMEOUT_S = 1.0
BACK_S = 30.0
"""After so long a store must answer again."""

Server = Cassandra | Hbase


@pytest.fixture(params=["cassandra", "hbase"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each kind of server, up again when the test is over."""
    found: Server = request.getfixturevalue(request.param)
    yield found
    if found.process is None:
        found.start()
    found.thaw()


class Writers:
    """Threads that each write one row after another until that fails; `confirmed`: those that were acknowledged."""

    def __init__(self, store: CellStore, name: str) -> None:
        self.confirmed: list[bytes] = []
        self._store = store
        self._threads = [threading.Thread(target=self._write, args=(f"{name}{i}",)) for i in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _write(self, name: str) -> None:
        with suppress(KanameError):
            for number in range(1_000_000):
                row = f"{name}-{number:06}".encode()
                self._store.write([Put("hurt", row, "f", {b"a": row, b"b": row}), Put("hurt", row, "g", {b"c": row})])
                self.confirmed.append(row)

    def end(self) -> list[bytes]:
        """Wait until all of them have failed; the rows that were confirmed."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        return self.confirmed


def assert_whole(store: CellStore, rows: list[bytes]) -> None:
    """Each row is there with all its cells."""
    for row, there in zip(rows, store.get_many("hurt", rows), strict=True):
        found = {cell.qualifier: cell.value for some in there.values() for cell in some}
        assert found == {b"a": row, b"b": row, b"c": row}


def test_every_confirmed_row_outlives_the_kill_of_the_server(server: Server) -> None:
    """kill -9 while four threads write: what was confirmed is there whole, and the store goes on by itself."""
    with closing(server.open(3 * TIMEOUT_S)) as store:
        store.define(TABLE)
        writers = Writers(store, "killed")
        until(lambda: len(writers.confirmed) > 200, "rows were written")
        server.kill()
        rows = writers.end()
        server.start()
        until(lambda: answers(store), "the store is back", BACK_S)
        assert_whole(store, rows)
        store.write([Put("hurt", b"after", "f", {b"q": b"v"})])


def test_a_frozen_server_costs_an_error_in_time_and_nothing_afterwards(server: Server) -> None:
    """SIGSTOP: reads, scans and writes end within twice the bound, also those of many rows; SIGCONT: all is well."""
    with closing(server.open(10 * TIMEOUT_S)) as store:  # what has just started takes its time
        store.define(TABLE)
    with closing(server.open(TIMEOUT_S)) as store:
        until(lambda: answers(store), "the store answers", BACK_S)
        before = [Put("hurt", b"frozen%d" % i, "f", {b"q": b"v"}) for i in range(100)]
        changes: list[Mutation] = [*before, *(Delete("hurt", one.row, "g", [b"q"], 1) for one in before)]
        store.write(changes)
        server.freeze()
        for _ in range(2):
            assert_late(lambda: store.get("hurt", b"frozen1"))
            assert_late(lambda: store.get_many("hurt", [one.row for one in before]))
            assert_late(lambda: list(store.scan("hurt", b"frozen")))
            assert_late(lambda: store.get_first("hurt", [(one.row, one.row + b"\0") for one in before]))
            assert_late(lambda: store.write(changes))
        server.thaw()
        until(lambda: answers(store), "the store is back", BACK_S)
        assert len(list(store.scan("hurt", b"frozen", b"frozen\xff"))) == len(before)
        store.write([Delete("hurt", one.row) for one in before])
        assert list(store.scan("hurt", b"frozen", b"frozen\xff")) == []


def test_who_waits_while_a_store_is_closed_is_told(cassandra: Cassandra) -> None:
    """A read that a frozen server owes ends with the store, and not never."""
    store = cassandra.open(60.0)
    store.define(TABLE)
    store.get("hurt", b"row")
    told: list[BaseException] = []

    def read() -> None:
        try:
            store.get("hurt", b"row")
        except KanameError as error:
            told.append(error)

    cassandra.freeze()
    try:
        reader = threading.Thread(target=read)
        reader.start()
        until(lambda: in_flight(store), "the question is on its way")
        store.close()
        reader.join(10.0)
        assert isinstance(told[0], Unavailable)
    finally:
        cassandra.thaw()


def in_flight(store: CassandraCells) -> int:
    """Questions of which the answer has not come, on all connections."""
    pools = store._session._session.get_pool_state()
    return sum(pool["open_count"] and sum(pool["in_flights"]) for pool in pools.values())


def test_the_space_of_what_is_over_is_given_back(hbase: Hbase) -> None:
    """Cells that nobody sees any more are deleted in HBase itself; those that are seen stay."""
    with closing(hbase.open()) as store:
        store.define(Table("swept", {"brief": Family(ttl_s=60.0)}))
        now_us = SystemClock().time_ns() // 1000
        rows = [b"%04d" % i for i in range(1500)]
        store.write([Put("swept", row, "brief", {b"old": b"v"}, now_us - 59_000_000) for row in rows])
        store.write([Put("swept", row, "brief", {b"new": b"v"}, now_us) for row in rows[:10]])
        store.define(Table("swept", {"brief": Family(ttl_s=10.0)}))
        store.sweep.run()
        store.define(Table("swept", {"brief": Family(ttl_s=3600.0)}))
        assert [row.key for row in store.scan("swept")] == rows[:10]
        assert [cell.qualifier for cell in store.get("swept", rows[0])["brief"]] == [b"new"]


def test_versions_that_nobody_sees_are_removed_by_readers(cassandra: Cassandra) -> None:
    """A family that keeps less than before has the rest removed when it is read."""
    with closing(cassandra.open()) as store:
        store.define(Table("trimmed", {"f": Family(versions=1000)}))
        for stamp in range(100):
            store.write([Put("trimmed", b"row", "f", {b"q": b"%d" % stamp}, stamp)])
        store.define(Table("trimmed", {"f": Family(versions=2)}))
        assert [cell.value for cell in store.get("trimmed", b"row", versions=9)["f"]] == [b"99", b"98"]
        store.define(Table("trimmed", {"f": Family(versions=1000)}))
        until(lambda: len(store.get("trimmed", b"row", versions=1000)["f"]) == 2, "the others are gone")


def test_versions_that_nobody_sees_are_removed_by_writers(cassandra: Cassandra) -> None:
    """Where nobody reads, a few more than the bound are there, however many were written."""
    with closing(cassandra.open()) as store:
        store.define(Table("unread", {"f": Family(versions=2), "g": Family()}))
        for stamp in range(1000):
            store.write([Put("unread", b"row", family, {b"q": b"%d" % stamp}, stamp) for family in ("f", "g")])
        lying = [row for row in lying_in(cassandra, "unread") if row[1] == "f"]
        assert len(lying) < 150
        assert [cell.value for cell in store.get("unread", b"row", versions=9)["f"]] == [b"999", b"998"]


def test_a_table_that_another_process_is_making_is_waited_for(cassandra: Cassandra) -> None:
    """It is written down first, and then made: who is there in between is not told that there is none."""
    with (
        closing(cassandra.open()) as one,
        closing(cassandra.open()) as other,
        closing(Session(cassandra.nodes())) as raw,
    ):
        one.define(Table("making", {"f": Family()}))
        raw.run('DROP TABLE kaname."making"')
        found: list[object] = []
        reader = threading.Thread(target=lambda: found.append(other.get("making", b"row")))
        reader.start()
        until(lambda: other.tables(), "the other one has looked")
        raw.run(create(named("kaname", "making")))
        reader.join(30.0)
        assert found == [{}]


def lying_in(server: Cassandra, table: str) -> list[tuple[object, ...]]:
    """The cells of a table as they lie there, whoever sees them: row, family, qualifier."""
    with closing(Session(server.nodes())) as session:
        return session.run(f'SELECT row, family, qualifier FROM kaname."{table}"')


def test_a_node_that_could_lose_confirmed_writes_is_warned_of(
    tmp_path: Path, cassandra: Cassandra, hbase: Hbase, caplog: pytest.LogCaptureFixture
) -> None:
    """Cassandra's own default for its commit log, said by whoever opens the store and by the doctor."""
    with closing(cassandra.open()):
        assert "commitlog_sync" not in caplog.text
    with Cassandra(tmp_path, sync="periodic") as careless, closing(careless.open()):
        assert "commitlog_sync: periodic" in caplog.text
        found = cells("main", cell_settings({}, "cassandra", f"127.0.0.1:{careless.port}"))
    assert (found.level, found.advice) == ("warn", DURABLE)
    assert cells("main", cell_settings({}, "cassandra", f"127.0.0.1:{cassandra.port}")).level == "ok"
    assert cells("main", cell_settings({}, "hbase", f"127.0.0.1:{hbase.port}")).level == "ok"
    assert cells("main", cell_settings({}, "hbase", f"127.0.0.1:{free_port()}")).level == "fail"


def answers(store: CellStore) -> bool:
    """Whether the store answers and confirms."""
    with suppress(KanameError):
        store.write([Put("hurt", b"alive", "f", {b"q": b"v"})])
        return bool(store.get("hurt", b"alive"))
    return False


def assert_late(ask: object) -> None:
    """It raises what says that it may be tried again, and in time."""
    assert callable(ask)
    began = time.monotonic()
    with pytest.raises((DeadlineExceeded, Unavailable)):
        ask()
    assert time.monotonic() - began < 2.5 * TIMEOUT_S
