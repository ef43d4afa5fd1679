"""A store of cells in a process of its own, asked over a socket without a time limit: it can be frozen and killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any, cast

from kaname.clock import SystemClock
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.types import CellStore, Columns, Row
from tests.cassandra_servers import Cassandra
from tests.processes import stand_still


class Served(LmdbCells):
    """What the other process has; scans come whole."""

    def __init__(self, folder: str) -> None:
        super().__init__(Path(folder), SystemClock())

    def scan(  # type: ignore[override]  # a list crosses the socket, an iterator does not
        self,
        table: str,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        columns: Columns | None = None,
        limit: int | None = None,
        reverse: bool = False,
        versions: int = 1,
    ) -> Sequence[Row]:
        found = super().scan(table, start, stop, columns=columns, limit=limit, reverse=reverse, versions=versions)
        return list(found)

    def pid(self) -> int:
        """The process."""
        return os.getpid()


class Server(BaseManager):
    """The process."""


Server.register("Served", Served)


class Far:
    """The store, and its process."""

    def __init__(self, proxy: Any) -> None:
        self.store = cast("CellStore", proxy)
        self._pid: int = proxy.pid()

    def freeze(self) -> None:
        """No answer comes from now on."""
        os.kill(self._pid, signal.SIGSTOP)
        stand_still(self._pid)

    def resume(self) -> None:
        """It goes on where it stopped."""
        os.kill(self._pid, signal.SIGCONT)


@contextmanager
def far_store(folder: Path) -> Iterator[Far]:
    """A store in another process, which ends with it."""
    folder.mkdir(parents=True, exist_ok=True)
    with Server() as server:
        far = Far(server.Served(str(folder)))  # type: ignore[attr-defined]  # registered above
        try:
            yield far
        finally:
            far.resume()


class FarCassandra:
    """The same, in a real Cassandra."""

    def __init__(self, server: Cassandra) -> None:
        self._server = server
        self.store: CellStore = server.open(timeout_s=2.0, keyspace="far_views")
        self.freeze = server.freeze
        self.resume = server.thaw
