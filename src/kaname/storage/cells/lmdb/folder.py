"""The folder of a store: who owns writing there, and the socket that the owner listens at."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path

from kaname.errors import DeadlineExceeded
from kaname.storage.mapped.filesystem import require_local
from kaname.storage.sole import Sole

SOCKET = "write.sock"
_credentials = struct.Struct("3i")


class Folder:
    """A folder on a disk of this machine, made if need be. Raises InvalidInput, OSError."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        require_local(path)
        self.path = path
        self.owning = Sole(path / "owner.lock")
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def _address(self) -> str:
        """The socket by way of the open folder: the name of a socket ends at 107 bytes, a path does not."""
        return f"/proc/self/fd/{self._fd}/{SOCKET}"

    def listen(self, backlog: int) -> socket.socket:
        """Be the one who is found at the socket, in place of an owner that has died. Raises OSError."""
        self.unlink()
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            door.bind(self._address)
            (self.path / SOCKET).chmod(0o600)
            door.listen(backlog)
        except OSError:
            door.close()
            raise
        return door

    def unlink(self) -> None:
        """Nobody is to be found at the socket any more."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / SOCKET).unlink()

    def connect(self, timeout_s: float) -> socket.socket:
        """A connection to the owner. Raises OSError where there is none, or none that accepts."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout_s)
            connection.connect(self._address)
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Give up what is owned, and let go of the folder."""
        self.owning.release()
        os.close(self._fd)


def peer_of(connection: socket.socket) -> str:
    """The process at the other end of a connection, for messages."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _credentials.size)
    return f"process {_credentials.unpack(raw)[0]}"


def late(owner: str) -> DeadlineExceeded:
    """The error for a write that its owner did not confirm in time."""
    return DeadlineExceeded(
        "the owner of the cell store did not confirm the write in time; it may happen yet; to write it again is safe",
        where=owner,
    )
