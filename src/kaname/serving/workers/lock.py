"""One server per project folder: a lock that dies with its process, and says who holds it and where it answers."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from kaname.errors import Conflict
from kaname.serving.workers.types import data_folder

TRIES, PAUSE_S = 15, 0.02
"""How long to insist: someone who only looks (`holder`) holds the lock for microseconds."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who serves a project: the process and the address, empty until it is ready."""

    pid: int
    url: str = ""


class ProjectLock:
    """Held by the process that serves a project; raises Conflict, naming the holder, where there is one."""

    def __init__(self, project: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
        path = data_folder(project) / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        for _ in range(TRIES):
            if _try(self._fd, fcntl.LOCK_EX):
                break
            sleep(PAUSE_S)
        else:
            found = _read(self._fd)
            os.close(self._fd)
            raise Conflict(
                "this project is being served by another process",
                where=str(project),
                found=f"pid {found.pid}" + (f" at {found.url}" if found.url else ""),
                expected="one server per project folder; stop that one first",
            )
        self.announce("")

    def announce(self, url: str) -> None:
        """Write down where the server answers."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, msgspec.json.encode(Holder(pid=os.getpid(), url=url)), 0)

    def release(self) -> None:
        """Let the next one have it."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def holder(project: Path) -> Holder | None:
    """Who serves `project` now, or None."""
    try:
        fd = os.open(data_folder(project) / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _try(fd, fcntl.LOCK_SH) else _read(fd)
    finally:
        os.close(fd)


def _try(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(fd: int) -> Holder:
    try:
        return msgspec.json.decode(os.pread(fd, 4096, 0), type=Holder)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Holder(pid=0)
