"""A real HBase for tests, made by the recipe in `services/hbase`: master and region server, and a Thrift 2 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.storage.cells.hbase.driver import Servers
from kaname.storage.cells.hbase.store import HbaseCells
from tests.cassandra_servers import START_S, fetch
from tests.servers import RealServer, free_port, listens

RECIPE = Path(__file__).parents[1] / "services" / "hbase" / "serve.sh"
READY = "Master has completed initialization"


class Hbase(RealServer):
    """Ready when both processes are; what hurts it, hurts the one that keeps the rows."""

    def __init__(self, folder: Path) -> None:
        fetch(RECIPE)
        self.port = free_port()
        ports = {name: str(free_port()) for name in ("ZOOKEEPER", "MASTER", "REGION")}
        self._before = 0
        (folder / "thrift").mkdir(parents=True)
        data = str(folder / "data")
        super().__init__(
            ["sh", str(RECIPE), "master", data], folder, self._initialized, environ=ports, timeout_s=START_S
        )
        self.thrift = RealServer(
            ["sh", str(RECIPE), "thrift", data],
            folder / "thrift",
            lambda: listens(self.port),
            environ={**ports, "PORT": str(self.port)},
            timeout_s=START_S,
        )

    def start(self) -> None:
        """Start it, again perhaps: what it printed before does not count."""
        self._before = self._times()
        super().start()

    def _initialized(self) -> bool:
        return self._times() > self._before

    def _times(self) -> int:
        log = self.folder / "server.log"
        return self.log().count(READY) if log.exists() else 0

    def open(self, timeout_s: float = 5.0, *, keyspace: str = "kaname") -> HbaseCells:
        """A store on it."""
        servers = Servers(addresses=(("127.0.0.1", self.port),), timeout_s=timeout_s)
        return HbaseCells(servers, SystemClock(), namespace=keyspace)

    def __exit__(self, *of: object) -> None:
        self.thrift.stop()
        self.stop()


@pytest.fixture(scope="session")
def hbase(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hbase]:
    """One for the whole run, which nobody hurts for longer than a test."""
    with Hbase(tmp_path_factory.mktemp("hbase")) as server:
        yield server
