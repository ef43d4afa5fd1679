"""Real servers (databases, caches, identity providers) that tests start on loopback, hurt and end.

A recipe is a function that returns a `RealServer`; one whose program is missing calls `program`, which skips with the
reason. Each server has a folder and ports of its own, so that suites may run beside each other.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.processes import stand_still, until

_LIBC = ctypes.CDLL(None)
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/lib/postgresql/*/bin")


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def program(name: str, package: str) -> str:
    """The path of a server's program; skips the test when Debian's `package` is not installed."""
    found = shutil.which(name)
    for pattern in SYSTEM_FOLDERS:
        folders = sorted(Path("/").glob(pattern.removeprefix("/")))
        found = found or next((str(folder / name) for folder in folders if (folder / name).exists()), None)
    if found is None:
        pytest.skip(f"{name} is not installed; `sudo apt-get install {package}` or `make services` brings it")
    return found


def _die_with_parent() -> None:
    """Runs in the child: the kernel kills it when the tests are gone, however they went."""
    _LIBC.prctl(1, signal.SIGKILL)


class RealServer:
    """One server process; ready when the constructor returns, started again with the same command by `start`."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        ready: Callable[[], object],
        *,
        user: str | None = None,
        environ: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        wait: bool = True,
    ) -> None:
        """`ready` is asked until it returns something true; `user` is who runs the process where the tests are root.
        Without `wait` it is begun only, and `wait_ready` is for the caller."""
        self.command = list(command)
        self.folder = folder
        self._ready = ready
        self._user = user if os.geteuid() == 0 else None
        self._environ = dict(environ or {})
        self._timeout_s = timeout_s
        self.process: subprocess.Popen[bytes] | None = None
        self.begin()
        if wait:
            self.wait_ready()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.begin()
        self.wait_ready()

    def begin(self) -> None:
        """Start it."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, **self._environ},
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def wait_ready(self) -> None:
        """Wait until it is ready."""
        process = self.process
        assert process is not None
        until(lambda: process.poll() is not None or self._ready(), f"{self.command[0]} is ready", self._timeout_s)
        assert process.poll() is None, f"{self.command[0]} ended: {self.log()[-2000:]}"

    def log(self) -> str:
        """What it printed."""
        return (self.folder / "server.log").read_text(errors="replace")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, at the latest after ten seconds by force."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """SIGKILL: nothing is written any more."""
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        stand_still(self.process.pid)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
