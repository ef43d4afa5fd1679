"""Three Cassandra nodes with three copies of each row: nobody notices that one of them is gone."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from kaname.clock import SystemClock
from kaname.errors import KanameError
from kaname.storage.cells.cassandra.driver import Nodes
from kaname.storage.cells.cassandra.store import CassandraCells
from kaname.storage.cells.types import CellStore, Family, Put, Table
from tests.cassandra_servers import SERVED, three
from tests.processes import until

pytestmark = SERVED
TABLE = "mixed"
THREADS = 4
EACH_S = 4.0
"""How long the load goes on in each state of the cluster."""


class Load:
    """Threads that write new rows and read what was confirmed, until told to end; `failed` says what went wrong."""

    def __init__(self, store: CellStore) -> None:
        self.confirmed: list[bytes] = []
        self.failed: list[str] = []
        self.slowest_s = 0.0
        self.reads = 0
        self._store = store
        self._numbers = itertools.count()
        self._ending = threading.Event()
        verbs = [self._write, self._read] * (THREADS // 2)
        self._threads = [threading.Thread(target=self._run, args=(verb,)) for verb in verbs]
        for thread in self._threads:
            thread.start()

    def _run(self, verb: Callable[[], None]) -> None:
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                verb()
            except (KanameError, AssertionError) as error:
                self.failed.append(f"{verb.__name__} after {time.monotonic() - began:.1f} s: {error!r} {error}")
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def _write(self) -> None:
        row = b"%06d" % next(self._numbers)
        self._store.write([Put(TABLE, row, "f", {b"a": row, b"b": row})])
        self.confirmed.append(row)

    def _read(self) -> None:
        if self.confirmed:
            row = random.choice(self.confirmed)
            assert [cell.value for cell in self._store.get(TABLE, row)["f"]] == [row, row]
            self.reads += 1

    def go_on(self) -> int:
        """Let it run for a while; returns how many rows were confirmed meanwhile."""
        before, end = len(self.confirmed), time.monotonic() + EACH_S
        until(lambda: time.monotonic() > end, "the load goes on", EACH_S + 1)
        return len(self.confirmed) - before

    def end(self) -> None:
        """Wait for the threads."""
        self._ending.set()
        for thread in self._threads:
            thread.join(60)


def test_no_read_fails_and_no_write_is_lost_when_a_node_freezes_and_another_is_killed(tmp_path: Path) -> None:
    """A mixed load by quorum, all the while: one node is frozen and goes on, then the first one is killed."""
    with three(tmp_path) as nodes:
        addresses = tuple((node.address, node.port) for node in nodes)
        with closing(CassandraCells(Nodes(addresses=addresses, timeout_s=5.0), SystemClock(), replication=3)) as store:
            store.define(Table(TABLE, {"f": Family()}))
            load = Load(store)
            try:
                written = [load.go_on()]
                nodes[2].freeze()
                written.append(load.go_on())
                nodes[2].thaw()
                written.append(load.go_on())
                nodes[0].kill()
                written.append(load.go_on())
            finally:
                load.end()
            assert load.failed == []
            assert min(written) > 10, written
            assert load.reads > sum(written) // 10
            found = [row.key for row in store.scan(TABLE)]
            assert found == sorted(load.confirmed)
            print(f"rows in each state: {written}, reads: {load.reads}, slowest: {load.slowest_s:.2f} s")
