"""The lock of a writer slot: a live process holds it, a dead one has lost it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from kaname.errors import Conflict


class SlotLock:
    """Exclusive ownership of a slot's folder until `release` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; raises Conflict at once when a live process has it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "slot.lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise Conflict(
                "another live process writes to this slot of the event log",
                where=str(folder),
                found=f"process {owner}",
                expected="one writer per slot",
            ) from None
        self._note_owner()

    def _note_owner(self) -> None:
        """The process number is for the message above only; a full disk must not keep anyone out."""
        try:
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()
        except OSError:
            pass

    def release(self) -> None:
        """Give the slot up."""
        self._file.close()
