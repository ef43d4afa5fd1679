"""Cell stores of every kind. A further one is a further name here, and nothing else of the suite changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.memory import MemoryCells
from kaname.storage.cells.types import CellStore
from tests.cassandra_servers import SERVED, Cassandra
from tests.hbase_servers import Hbase

Started = subprocess.Popen[str]
Start = Callable[..., Started]


def peer(folder: Path, *arguments: str) -> Started:
    """Another process of `tests.storage.cells.peer`."""
    command = [sys.executable, "-m", "tests.storage.cells.peer", str(folder), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(process: Started) -> None:
    """Kill a process that may be frozen, and close its pipes."""
    process.kill()
    process.communicate()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes with `peer` that are gone after the test."""
    with ExitStack() as stack:

        def started(folder: Path, *arguments: str) -> Started:
            process = peer(folder, *arguments)
            stack.callback(end, process)
            return process

        yield started


@pytest.fixture(scope="package")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a store that another process owns."""
    folder = tmp_path_factory.mktemp("owned")
    process = peer(folder, "own")
    assert process.stdout is not None
    assert process.stdout.readline() == "owns\n"
    yield folder
    end(process)


def opened(kind: str, request: pytest.FixtureRequest) -> CellStore:
    """A store of a kind."""
    if kind == "memory":
        return MemoryCells(SystemClock())
    if kind == "lmdb":
        return LmdbCells(request.getfixturevalue("tmp_path_factory").mktemp("cells"), SystemClock())
    if kind in ("cassandra", "hbase"):
        server: Cassandra | Hbase = request.getfixturevalue(kind)
        return server.open(timeout_s=10.0)
    assert kind == "lmdb owned by another process"
    return LmdbCells(request.getfixturevalue("owned"), SystemClock())


KINDS = [
    "memory",
    "lmdb",
    "lmdb owned by another process",
    pytest.param("cassandra", marks=SERVED),
    pytest.param("hbase", marks=SERVED),
]


@pytest.fixture(scope="package", params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[CellStore]:
    """A store of each kind; tests share it, and have rows of their own."""
    made = opened(request.param, request)
    yield made
    made.close()
