"""Which entries of a node cache its processes use: a file for each process, which dies with its lock."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections import Counter
from pathlib import Path


class Uses:
    """What one process uses, for the others to see. Call it under the cache's lock only."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._mine = Counter[str]()
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._fd = os.open(folder / self._name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def add(self, name: str) -> None:
        """This process uses `name` once more."""
        self._mine[name] += 1
        self._write()

    def drop(self, name: str) -> None:
        """This process uses `name` once less."""
        if name in self._mine:
            self._mine[name] -= 1
            self._mine += Counter()  # without those that have come to nothing
            self._write()

    def all(self) -> set[str]:
        """What living processes use; the files of dead ones are removed."""
        found = set(self._mine)
        for file in self._folder.iterdir():
            if file.name != self._name:
                found |= _used(file)
        return found

    def _write(self) -> None:
        text = "\n".join(self._mine).encode()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text, 0)

    def close(self) -> None:
        """Use nothing any more."""
        (self._folder / self._name).unlink(missing_ok=True)
        os.close(self._fd)


def _used(file: Path) -> set[str]:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return set()  # its process has just left
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return set(os.read(fd, os.fstat(fd).st_size).decode().split())
    else:
        file.unlink(missing_ok=True)
        return set()
    finally:
        os.close(fd)
