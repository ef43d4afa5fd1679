"""Real Cassandra nodes for tests, made by the recipe in `services/cassandra`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.storage.cells.cassandra.driver import Nodes
from kaname.storage.cells.cassandra.store import CassandraCells
from tests.servers import RealServer, free_port, listens

RECIPE = Path(__file__).parents[1] / "services" / "cassandra" / "serve.sh"
START_S = 90.0


def fetch(recipe: Path) -> None:
    """Have the jars of a server, which may take some minutes the first time; skips where there is no Java or Maven."""
    for name, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed; `sudo apt-get install {package}` or `make services` brings it")
    jars = ["sh", str(recipe.parents[1] / "jars.sh"), str(recipe.parent)]
    done = subprocess.run(jars, capture_output=True, text=True, check=False, timeout=570)
    assert done.returncode == 0, done.stderr[-2000:]


class Cassandra(RealServer):
    """A node, ready; alone unless it is told of others."""

    def __init__(
        self, folder: Path, *, address: str = "127.0.0.1", port: int = 0, sync: str = "batch", **environ: str
    ) -> None:
        """`environ`: further variables of the recipe, such as SEEDS and TOKEN."""
        fetch(RECIPE)
        self.address = address
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        said = {"ADDRESS": address, "PORT": str(self.port), "STORAGE_PORT": str(free_port()), "SYNC": sync, **environ}
        command = ["sh", str(RECIPE), str(folder)]
        super().__init__(command, folder, lambda: listens(self.port, address), environ=said, timeout_s=START_S)

    def nodes(self, timeout_s: float = 5.0, hedge_s: float = 0.0) -> Nodes:
        """How to reach it."""
        return Nodes(addresses=((self.address, self.port),), timeout_s=timeout_s, hedge_s=hedge_s)

    def open(self, timeout_s: float = 5.0, *, keyspace: str = "kaname") -> CassandraCells:
        """A store on it; few partitions, which are quickly scanned."""
        return CassandraCells(self.nodes(timeout_s), SystemClock(), keyspace=keyspace, buckets=8)


@pytest.fixture(scope="session")
def cassandra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cassandra]:
    """One node for the whole run, which nobody hurts for longer than a test."""
    with Cassandra(tmp_path_factory.mktemp("cassandra")) as server:
        yield server
