"""Real Cassandra nodes for tests, made by the recipe in `services/cassandra`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.storage.cells.cassandra.driver import Nodes
from kaname.storage.cells.cassandra.store import CassandraCells
from tests.processes import until
from tests.servers import RealServer, free_port, listens

RECIPE = Path(__file__).parents[1] / "services" / "cassandra" / "serve.sh"
START_S = 90.0
SERVED = [pytest.mark.services, pytest.mark.timeout(600)]
"""Marks of tests on servers of Java, whose jars are fetched the first time, within the first test."""


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
        self,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        sync: str = "batch",
        wait: bool = True,
        **environ: str,
    ) -> None:
        """`environ`: further variables of the recipe."""
        fetch(RECIPE)
        self.address = address
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        said = {"ADDRESS": address, "PORT": str(self.port), "SYNC": sync, "STORAGE_PORT": str(free_port()), **environ}
        command = ["sh", str(RECIPE), str(folder)]
        super().__init__(command, folder, self._answers, environ=said, timeout_s=START_S, wait=wait)

    def _answers(self) -> bool:
        """Whether it accepts clients."""
        return listens(self.port, self.address)

    def nodes(self, timeout_s: float = 5.0, hedge_s: float = 0.0) -> Nodes:
        """How to reach it."""
        return Nodes(addresses=((self.address, self.port),), timeout_s=timeout_s, hedge_s=hedge_s)

    def open(self, timeout_s: float = 5.0, *, keyspace: str = "kaname") -> CassandraCells:
        """A store on it; few partitions, which are quickly scanned."""
        return CassandraCells(self.nodes(timeout_s), SystemClock(), keyspace=keyspace, buckets=8)


TOKENS = ("-9223372036854775808", "-3074457345618258603", "3074457345618258602")
"""Each node has a third of the ring, and copies of the others' thirds."""


@contextmanager
def three(folder: Path) -> Iterator[list[Cassandra]]:
    """A cluster of three nodes on 127.0.0.1 to 127.0.0.3, which start side by side."""
    port, storage = free_port(), str(free_port())
    addresses = [f"127.0.0.{i}" for i in (1, 2, 3)]
    with ExitStack() as stack:
        nodes = []
        for address, token in zip(addresses, TOKENS, strict=True):
            said = {"SEEDS": ",".join(addresses), "TOKEN": token, "STORAGE_PORT": storage}
            node = Cassandra(folder / address, address=address, port=port, wait=False, **said)
            nodes.append(stack.enter_context(node))
        for node in nodes:
            node.wait_ready()
        until(lambda: all(_reaches_all(node) for node in nodes), "each node reaches the others", START_S)
        yield nodes


def _reaches_all(node: Cassandra) -> bool:
    """Whether the node takes the other two for alive: it reads what three nodes have."""
    from cassandra import ConsistencyLevel
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import WhiteListRoundRobinPolicy

    profile = ExecutionProfile(
        WhiteListRoundRobinPolicy([node.address]), consistency_level=ConsistencyLevel.ALL, request_timeout=10.0
    )
    cluster = Cluster([node.address], port=node.port, execution_profiles={EXEC_PROFILE_DEFAULT: profile})
    with cluster, suppress(Exception):  # whatever a node says that is not ready
        session = cluster.connect()
        copies = "{'class': 'SimpleStrategy', 'replication_factor': 3}"
        session.execute(f"CREATE KEYSPACE IF NOT EXISTS ready WITH replication = {copies}")
        session.execute("CREATE TABLE IF NOT EXISTS ready.known (a int PRIMARY KEY)")
        session.execute("SELECT a FROM ready.known WHERE a = 1")
        return True
    return False


@pytest.fixture(scope="session")
def cassandra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cassandra]:
    """One node for the whole run, which nobody hurts for longer than a test."""
    with Cassandra(tmp_path_factory.mktemp("cassandra")) as server:
        yield server
