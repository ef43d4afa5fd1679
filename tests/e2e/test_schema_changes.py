"""Schema files that change under a running server: every worker follows, no row is lost, and nothing is restarted."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kaname.client import Client
from kaname.errors import InvalidInput
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.processes import until

pytestmark = pytest.mark.slow

SCHEMA = """
define relation user { id string key, age int32 };
define schema by_id for user on cells("main") { table "users", row id, family "f", value pack[age] };
"""
MORE = SCHEMA.replace("age int32 }", "age int32, city string }").replace("pack[age]", "pack[age, city]")
SPREAD = SCHEMA.replace('table "users", row id', 'table "users_2", row hash(2)[id]:id')
ENOUGH = 24
"""Connections in a row, so many that each of two workers takes some of them."""


@pytest.fixture
def project(project: Path) -> Path:
    """The project with a relation."""
    (project / "features").mkdir(exist_ok=True)
    write(project, SCHEMA)
    return project


def write(project: Path, text: str) -> None:
    """Put another file in the place of the one that is there."""
    fresh = project / "features" / "fresh"
    fresh.write_text(text)
    fresh.replace(project / "features" / "user.schema")


def everywhere(server: Server, key: str, expected: dict[str, object]) -> bool:
    """Whether connection after connection answers so."""
    for _ in range(ENOUGH):
        with Client(server.url, server.admin) as client:
            if client.features.get("user", [{"id": key}]) != [expected]:
                return False
    return True


def test_every_worker_follows_the_files_and_keeps_what_it_had_where_they_are_bad(serve: Serve, project: Path) -> None:
    """A new attribute is there without a word; a type that would misread rows is not, and the log says why."""
    with serve(workers=2) as server, Client(server.url, server.admin) as client:
        client.features.insert("user", [{"id": "u1", "age": 41}])
        assert everywhere(server, "u1", {"id": "u1", "age": 41})
        write(project, MORE)
        until(lambda: everywhere(server, "u1", {"id": "u1", "age": 41, "city": None}), "both workers follow")
        client.features.insert("user", [{"id": "u2", "age": 1, "city": "Kyoto"}])
        write(project, MORE.replace("int32", "int64"))
        until(lambda: "the stored values have another type" in server.log(), "it is said")
        assert everywhere(server, "u2", {"id": "u2", "age": 1, "city": "Kyoto"})
        ran = server.kaname("apply")
        assert ran.code == 1
        assert "features/user.schema:2:39: the stored values have another type" in ran.out + ran.err
        write(project, MORE)
        with pytest.raises(InvalidInput, match="no such attribute"):
            client.features.insert("user", [{"id": "u3", "nickname": "x"}])


def test_a_layout_changes_under_load_over_http(serve: Serve, project: Path) -> None:
    """Two clients write through whatever worker answers while the command does its work: no row is lost."""
    with serve(workers=2) as server:
        leave, counts, errors = threading.Event(), [0, 0], list[BaseException]()

        def load(number: int) -> None:
            try:
                while not leave.is_set():
                    with Client(server.url, server.admin) as client:
                        at = counts[number]
                        rows = [{"id": f"w{number}-{at + i}", "age": at + i} for i in range(20)]
                        client.features.insert("user", rows)
                        client.features.delete("user", [{"id": rows[0]["id"]}])
                    counts[number] += 20
            except BaseException as error:  # noqa: BLE001  (raised below)
                errors.append(error)

        threads = [threading.Thread(target=load, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: min(counts) > 100, "rows are written")
        write(project, SPREAD)
        ran = server.run("features", "relayout", "user")
        before = list(counts)
        until(lambda: min(counts) > max(before) + 100, "more rows are written")
        leave.set()
        for thread in threads:
            thread.join()
        assert not errors, errors
        assert ran.code == 0, ran.out + ran.err
        assert "done: user is kept in by_id" in ran.out
        with Client(server.url, server.admin) as client:
            found = {row["id"]: row["age"] for row in client.features.rows("SELECT * FROM user ALLOW FILTERING")}
        assert found == {f"w{n}-{i}": i for n in range(2) for i in range(counts[n]) if i % 20}
        assert server.run("check").code == 0
