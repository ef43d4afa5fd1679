"""One process at a time: whichever gets the lock of a file keeps it until it lets go or dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Sole:
    """This process' claim to be the one that does something for all."""

    def __init__(self, path: Path) -> None:
        """`path`: the file that is locked; its folder exists."""
        self._path = path
        self._fd: int | None = None

    def held(self) -> bool:
        """Whether this process is the one, which it becomes where no other is. Never blocks."""
        if self._fd is not None:
            return True
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Let another process be the one."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
