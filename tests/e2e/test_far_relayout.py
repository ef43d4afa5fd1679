"""Two nodes on one PostgreSQL, rows in one Cassandra: a layout takes the place of another one while both write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from kaname.client import Client
from tests.cassandra_servers import SERVED, Cassandra
from tests.cli.kaname import Ran, kaname
from tests.databases import postgres_server
from tests.e2e.cluster import Cluster
from tests.e2e.server import Server
from tests.processes import until
from tests.servers import free_port

pytestmark = SERVED

OLD = """
define relation user { id string key, age int32, city string };
define schema by_id for user on cells("main") { table "users", row id, family "f", value pack[age, city] };
"""
NEW = OLD.replace(
    'table "users", row id, family "f", value pack[age, city]',
    'table "users_2", row hash(2)[id]:id, family "g", qualifier attr_name[], value attr_value[]',
)
FIRST_ROWS = 3_000
ALL = "SELECT id, age, city FROM user ALLOW FILTERING"


@pytest.fixture
def cluster(tmp_path: Path, cassandra: Cassandra) -> Iterator[Cluster]:
    """Both of them, ready for nodes."""
    template = tmp_path / "template"
    template.mkdir()
    there = f'kind: cassandra, addresses: ["127.0.0.1:{cassandra.port}"], keyspace: relayout, buckets: 8'
    (template / "kaname.yaml").write_text(f"name: far\ncells: {{main: {{{there}, timeout_ms: 10000}}}}\n")
    declare(template, OLD)
    with postgres_server() as database:
        made = Cluster(database, tmp_path, template)
        yield made
        made.close()


def declare(project: Path, text: str) -> None:
    """What the schema file of a project folder says from now on."""
    (project / "features").mkdir(exist_ok=True)
    fresh = project / "features" / "fresh"
    fresh.write_text(text)
    fresh.replace(project / "features" / "user.schema")


class Writer(threading.Thread):
    """Inserts, overwrites and deletes rows of its own through one node, and knows what must be there."""

    def __init__(self, node: Server, name: str) -> None:
        super().__init__(daemon=True)
        self.expected: dict[str, dict[str, object]] = {}
        self.writes = 0
        self.failed: list[BaseException] = []
        self._node = node
        self._name = name
        self._random = Random(name)
        self._leave = threading.Event()

    def run(self) -> None:
        try:
            with Client(self._node.url, self._node.admin) as client:
                while not self._leave.is_set():
                    self._write(client)
        except BaseException as error:  # noqa: BLE001  (raised where it is joined)
            self.failed.append(error)

    def _write(self, client: Client) -> None:
        keys = [f"{self._name}{number}" for number in self._random.sample(range(500), 10)]
        self.writes += 1
        if self._random.random() < 0.3:
            client.features.delete("user", [{"id": key} for key in keys])
            for key in keys:
                self.expected.pop(key, None)
            return
        city = self._random.choice([None, "Kyoto"])
        rows: list[dict[str, object]] = [{"id": key, "age": self.writes, "city": city} for key in keys]
        client.features.insert("user", rows)
        self.expected |= zip(keys, rows, strict=True)

    def more(self, writes: int) -> None:
        """Wait until it has written so much more."""
        wanted = self.writes + writes
        until(lambda: self.failed or self.writes > wanted, "rows are written", 60.0)
        if self.failed:
            raise self.failed[0]

    def end(self) -> None:
        """Stop; raises what it ran into."""
        self._leave.set()
        self.join()
        if self.failed:
            raise self.failed[0]


@contextmanager
def writing(*nodes: Server) -> Iterator[list[Writer]]:
    """A writer through each node."""
    writers = [Writer(node, f"w{number}-") for number, node in enumerate(nodes)]
    for writer in writers:
        writer.start()
    yield writers
    for writer in writers:
        writer.end()


class Command(threading.Thread):
    """A command in the folder of a node, beside all else."""

    def __init__(self, cluster: Cluster, on: str, *arguments: str) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._arguments = ("-C", str(cluster.project(on)), *arguments)
        self.start()

    def run(self) -> None:
        self._ran = kaname(*self._arguments, cwd=None, **self._cluster.environ)

    def ended(self) -> Ran:
        """What became of it."""
        self.join()
        return self._ran


def test_files_are_checked_against_a_store_that_is_far(tmp_path: Path, cassandra: Cassandra) -> None:
    """Also where nothing is stored here; a store that cannot be asked is no fault of the files."""
    settings = tmp_path / "kaname.yaml"
    node = f'{{kind: cassandra, addresses: ["127.0.0.1:{cassandra.port}"], keyspace: checked}}'
    there = f"name: far\ncells: {{main: {node}}}\n"
    settings.write_text(there)
    declare(tmp_path, OLD)
    assert kaname("-C", tmp_path, "features", "query", "INSERT INTO user (id) VALUES ('ann')").code == 0
    declare(tmp_path, NEW)
    refused = kaname("-C", tmp_path, "check")
    assert (refused.code, "the stored rows are elsewhere" in refused.out) == (1, True)
    settings.write_text(there.replace(f":{cassandra.port}", f":{free_port()}"))
    assert kaname("-C", tmp_path, "check").code == 0


def test_a_layout_changes_on_two_nodes_while_both_write(cluster: Cluster) -> None:
    """Every step under load on both, slowly enough that a second node tries meanwhile and is refused: what was
    confirmed is there, what was deleted is not, in the old layout's place and on both nodes; the old table is gone."""
    one, two = cluster.node("first"), cluster.node("second", workers=2)
    first: dict[str, dict[str, object]] = {
        f"first{number}": {"id": f"first{number}", "age": number, "city": None} for number in range(FIRST_ROWS)
    }
    with Client(one.url, one.admin) as client:
        client.features.insert("user", list(first.values()))
    with writing(one, two) as writers:
        for writer in writers:
            writer.more(20)
        for name in ("first", "second"):
            declare(cluster.project(name), NEW)
        running = Command(cluster, "first", "features", "relayout", "user", "--rate", str(FIRST_ROWS // 6))
        until(lambda: "rows copied" in cluster.run("features", "relayout", "user", "--status").out, "it copies", 60.0)
        refused = kaname("-C", cluster.project("second"), "features", "relayout", "user", cwd=None, **cluster.environ)
        assert refused.code != 0
        assert "another node is doing this" in refused.out + refused.err
        ran = running.ended()
        assert ran.code == 0, ran.out + ran.err
        assert "done: user is kept in by_id" in ran.out
        for writer in writers:
            writer.more(20)
    expected = first | writers[0].expected | writers[1].expected
    for node in (one, two):
        with Client(node.url, node.admin) as client:
            assert {row["id"]: row for row in client.features.rows(ALL)} == expected
    for name in ("first", "second"):
        cluster.run("check", on=name)
        assert 'table "users_2"' in cluster.run("features", "describe", "user", on=name).out
