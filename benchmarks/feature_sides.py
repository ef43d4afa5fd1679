"""Who takes part in the features benchmark, and how each is started: in process, and as a server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import feature_reader, interleaved, process, reading, subject
from benchmarks.contestants import HERE, Peer, environment
from benchmarks.request import Request, json_request

FEAST = Peer("feast", "Feast", "feast", lambda _: None)
EMBEDDED, KEPT, REDIS, CASSANDRA = (
    "Kaname, embedded",
    "Kaname, kept in process (L1)",
    "Kaname, kept in Redis (L2)",
    "Kaname, Cassandra",
)
FEAST_SQLITE, FEAST_REDIS = "Feast, SQLite", "Feast, Redis"
LIKE = {FEAST_SQLITE: EMBEDDED, FEAST_REDIS: REDIS}
"""With which of ours each of theirs is compared; all of ours are compared with the embedded one."""
OTHERS = 64
"""So many requests take turns, so that those under way at once ask for different entities."""
CASSANDRA_SERVE = HERE.parent / "services" / "cassandra" / "serve.sh"

Shape = tuple[int, int]
"""Entities and features of a read."""
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Side:
    """One that takes part: a folder, and what else the programs on it are told."""

    title: str
    folder: Path
    settings: str = ""
    """Of `kaname.yaml`."""
    redis: str = ""
    """Feast's online store, where it is not SQLite."""

    @property
    def is_feast(self) -> bool:
        """Whether it is theirs."""
        return self.title in LIKE

    def reader(self) -> Reader:
        """Fills the folder, then reads on command."""
        if self.is_feast:
            command = [str(FEAST.python), str(HERE / "peers" / "feast" / "reader.py"), str(self.folder)]
            extra = {"PYTHONPATH": str(HERE.parent), "FEAST_USAGE": "False"}
            return Reader.start(self.title, [*command, self.redis] if self.redis else command, extra)
        feature_reader.make(self.folder, self.settings)
        return Reader.start(self.title, [sys.executable, "-m", "benchmarks.feature_reader", str(self.folder)], {})

    def server(self) -> Served:
        """Its server, on the folder that the reader has filled."""
        port, log = process.free_port(), self.folder.with_suffix(".log")
        if self.is_feast:
            program = str(FEAST.python.parent / "feast")
            command = [program, "-c", str(self.folder), "serve", "-p", str(port), "--no-access-log"]
            extra = {"FEAST_USAGE": "False"}
            return Served(self.title, process.Server.start(command, environment(extra), port, log, self.folder))
        scopes = ("--scope", "read:user", "--scope", "predict:*")
        said = subject.kaname("-C", str(self.folder), "key", "create", *scopes, "--json")
        command = [subject.COMMAND, "serve", str(self.folder), "--port", str(port)]
        server = process.Server.start(command, environment({}), port, log, self.folder)
        return Served(self.title, server, json.loads(said)["key"])


def sides(folder: Path, redis: int, cassandra: int) -> list[Side]:
    """Everybody. A store over the network is given time, so that no read is answered with defaults."""
    far = f"cells: {{main: {{kind: cassandra, addresses: ['127.0.0.1:{cassandra}']}}}}\n"
    shared = f"shared: {{redis_url: 'redis://127.0.0.1:{redis}/1'}}\n"
    patient = "lookup_ms: 5000"
    return [
        Side(EMBEDDED, folder / "embedded"),
        Side(KEPT, folder / "kept", far + f"features: {{{patient}}}\n"),
        Side(REDIS, folder / "shared", far + shared + f"features: {{{patient}, l1_ttl_ms: 0}}\n"),
        Side(CASSANDRA, folder / "cassandra", far + f"features: {{{patient}, l1_ttl_ms: 0, l2_ttl_ms: 0}}\n"),
        Side(FEAST_SQLITE, folder / "feast"),
        Side(FEAST_REDIS, folder / "feast_redis", redis=f"127.0.0.1:{redis}"),
    ]


@dataclass(frozen=True, slots=True)
class Reader:
    """A process that reads on command (see `benchmarks.reading`)."""

    title: str
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, title: str, command: list[str], extra: dict[str, str]) -> Reader:
        """Run it on the servers' core, and wait until it is ready."""
        command = process.pinned(process.SERVER_CORE, command)
        running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(extra), cwd=HERE.parent
        )
        reader = cls(title, running)
        while (said := reader.line()) != "ready":
            print(f"{title}: {said}", file=sys.stderr)
        return reader

    def line(self) -> str:
        """The next line that it says. Raises `ServerFailed` when it has ended."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if not said:
            raise process.ServerFailed(f"{self.title} ended with {self.process.wait()}")
        return said.strip()

    def read(self, shape: Shape, count: int) -> Figures:
        """So many reads."""
        assert self.process.stdin is not None
        entities, features = shape
        self.process.stdin.write(json.dumps({"features": features, "entities": entities, "count": count}) + "\n")
        self.process.stdin.flush()
        found: Figures = json.loads(self.line())
        return found

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


@dataclass(frozen=True, slots=True)
class Served:
    """A server, and how it is asked."""

    title: str
    server: process.Server
    key: str = ""

    def requests(self, shape: Shape) -> list[Request]:
        """Reads of a shape: of other entities each."""
        return [self._request(shape, first) for first in range(OTHERS)]

    def _request(self, shape: Shape, first: int) -> Request:
        entities, features = shape
        keys = [reading.name((first * entities + i) % reading.ENTITIES) for i in range(entities)]
        if not self.key:
            names = [f"users:f{i}" for i in range(features)]
            return json_request("/get-online-features", {"features": names, "entities": {"user_id": keys}})
        named = [{"user_id": key} for key in keys]
        asked: dict[str, Any] = {"entity": named[0]} if entities == 1 else {"entities": named}
        path = f"/api/v1/views/first_{features}/read"
        return json_request(path, asked).with_headers(("Authorization", f"Bearer {self.key}"))


def readers(taking_part: list[Side], stack: ExitStack) -> list[Reader]:
    """All of them in process; they end with the stack."""
    started = []
    for side in taking_part:
        started.append(side.reader())
        stack.callback(started[-1].stop)
    return started


def servers(taking_part: list[Side], stack: ExitStack, ready: Shape) -> list[Served]:
    """All of them as servers, which answer; they end with the stack."""
    found = []
    for side in taking_part:
        found.append(side.server())
        stack.callback(found[-1].server.stop)
    for one in found:
        one.server.wait_until(one.requests(ready)[0])
    return found


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """A Redis of its own; its port."""
    port = process.free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(folder), "--bind", "127.0.0.1"]
    with _running(command, port, {}):
        yield port


@contextmanager
def cassandra_server(folder: Path) -> Iterator[int]:
    """A Cassandra of its own, one node; its port."""
    port = process.free_port()
    ports = {"PORT": str(port), "STORAGE_PORT": str(port + 1)}
    with _running(["sh", str(CASSANDRA_SERVE), str(folder / "node")], port, ports):
        yield port


@contextmanager
def _running(command: list[str], port: int, extra: dict[str, str]) -> Iterator[None]:
    running = subprocess.Popen(command, env=environment(extra), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        interleaved.wait_open(port)
        yield
    finally:
        running.terminate()
        running.wait(30)
