"""Servers under test: started on one core, waited for, and ended with everything that they started."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cpu
from benchmarks.request import Request

SERVER_CORE, CLIENT_CORE = 0, min(1, (os.cpu_count() or 1) - 1)
START_S = 90.0
STOP_S = 10.0


class ServerFailed(Exception):
    """A server did not come up or did not answer with 200; the message says what it wrote."""


def pinned(core: int, command: list[str]) -> list[str]:
    """`command` bound to one core."""
    return ["taskset", "-c", str(core), *command]


def free_port() -> int:
    """A port that is free, with the two after it, which some servers take as well.

    Below the range from which the system takes ports for outgoing connections, so that it stays free until the
    server binds it.
    """
    for port in _PORTS:
        if all(_is_free(port + more) for more in range(3)):
            return port
    raise ServerFailed("no free ports")


_PORTS = iter(range(20_000 + os.getpid() % 500 * 20, 32_000, 4))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass(slots=True)
class Server:
    """A running server; end it with `stop`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @classmethod
    def start(cls, command: list[str], environment: dict[str, str], port: int, log: Path, cwd: Path) -> Server:
        """Run `command` on the server's core, its output going to `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            process = subprocess.Popen(
                pinned(SERVER_CORE, command), env=environment, cwd=cwd, stdout=out, stderr=subprocess.STDOUT
            )
        return cls(process, port, log)

    def wait_until(self, request: Request) -> None:
        """Return when `request` is answered with 200; raises `ServerFailed` with the end of its log otherwise."""
        deadline = time.monotonic() + START_S
        said = "nothing"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerFailed(f"it ended with {self.process.returncode}: {self._log_end()}")
            try:
                status, body = send(self.port, request)
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
            else:
                if status == 200:
                    return
                said = f"{status} {body[:300]!r}"
            time.sleep(0.1)
        raise ServerFailed(f"no good answer in {START_S:.0f} s, the last was {said}: {self._log_end()}")

    def cpu_s(self) -> float:
        return cpu.tree_cpu_s(self.process.pid)

    def largest_resident_bytes(self) -> int:
        """Memory of the largest process in the tree: the worker."""
        return max(cpu.resident_bytes(stat.pid) for stat in cpu.tree(self.process.pid))

    def stop(self) -> None:
        """Ask it to end; what has not ended after some seconds is killed, by process id."""
        members = [stat.pid for stat in cpu.tree(self.process.pid)]
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in members[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _log_end(self) -> str:
        return self.log.read_text(errors="replace")[-1500:].strip()


def send(port: int, request: Request, timeout_s: float = 20.0) -> tuple[int, bytes]:
    """Send one request on a connection of its own; returns status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(request.method, request.path, request.body, dict(request.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
