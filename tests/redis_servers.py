"""Real Redis servers for tests: one, a master with a replica behind a Sentinel, a cluster of three."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.processes import until
from tests.servers import RealServer, free_port, listens, program


class RedisServer(RealServer):
    """A server that keeps nothing on disk."""

    def __init__(self, folder: Path, *options: str, tls: bool = False) -> None:
        self.port = free_port()
        self.tls = tls
        folder.mkdir(parents=True, exist_ok=True)
        command = [program("redis-server", "redis-server"), "--bind", "127.0.0.1"]
        command += ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        command += ["--save", "", "--dir", str(folder), *options]
        super().__init__(command, folder, lambda: listens(self.port), timeout_s=20)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis{'s' * self.tls}://127.0.0.1:{self.port}"


def ask(port: int, *words: str) -> str:
    """What a server answers to a command."""
    command = [program("redis-cli", "redis-tools"), "-p", str(port), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


@contextmanager
def watched_master(folder: Path) -> Iterator[tuple[RedisServer, RedisServer, str]]:
    """A master, its replica, and the URL of a Sentinel that puts the replica in its place."""
    with ExitStack() as stack:
        master = stack.enter_context(RedisServer(folder / "master"))
        replica = stack.enter_context(RedisServer(folder / "replica", "--replicaof", f"127.0.0.1 {master.port}"))
        watch = folder / "sentinel"
        watch.mkdir()
        (watch / "sentinel.conf").write_text(
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 300\n"
            "sentinel failover-timeout main 2000\n"
        )
        port = free_port()
        command = [program("redis-server", "redis-server"), str(watch / "sentinel.conf"), "--sentinel"]
        command += ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(watch)]

        def knows_both() -> bool:
            return listens(port) and "slaves=1" in ask(port, "info", "sentinel")

        stack.enter_context(RealServer(command, watch, knows_both, timeout_s=30))
        yield master, replica, f"redis+sentinel://127.0.0.1:{port}/main"


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[list[RedisServer], str]]:
    """Three nodes with a third of the keys each: the nodes, and the URL."""
    options = ("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "1000")
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(RedisServer(folder / str(i), *options, "--cluster-port", str(free_port())))
            for i in range(3)
        ]
        places = [f"127.0.0.1:{node.port}" for node in nodes]
        ask(nodes[0].port, "--cluster", "create", *places, "--cluster-yes")
        for node in nodes:
            until(lambda: "cluster_state:ok" in ask(node.port, "cluster", "info"), "the cluster is whole")  # noqa: B023  (asked at once)
        yield nodes, f"redis+cluster://{','.join(places)}"
