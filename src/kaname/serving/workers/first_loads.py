"""Which versions have been loaded in this run, and whose turn it is to load one that nobody has loaded yet.

A version may kill the process that loads it. So the first load of each is one worker's alone: the others wait until it
has loaded it, or has died of it. While one is being tried, another worker answers.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kaname.serving.workers.board import Board, State
from kaname.serving.workers.types import data_folder

LOOK_S = 0.02
PATIENCE_S = 30.0
"""How long a worker that answers alone waits for another to be back before it tries all the same: as long as the
longest pause before a restart."""


class FirstLoads:
    """The turns of the worker in one slot. The file is the lock, and the list of what has been loaded in this run."""

    def __init__(self, path: Path, board: Board, slot: int, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._path = path
        self._board = board
        self._slot = slot
        self._sleep = sleep
        self._known: set[int] = set()
        self._read = 0

    @contextmanager
    def loading(self, version_id: int) -> Iterator[None]:
        """Load a version inside; it is this worker's turn then. Blocks: on the thread that loads.

        Once a worker has left it without an exception, the others may load the version at the same time. A version
        that was put into quarantine meanwhile is not waited for: look again inside.
        """
        lock = self._first(version_id)
        try:
            with self._board.loading(self._slot, version_id):
                yield
            if lock is not None:
                os.write(lock, struct.pack("<q", version_id))
        finally:
            if lock is not None:
                os.close(lock)

    def _first(self, version_id: int) -> int | None:
        """The lock on all first loads of the run, held, where this is to be one."""
        waited_s = 0.0
        while not self._decided(version_id):
            lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._decided(version_id) and (self._may_try() or waited_s >= PATIENCE_S):
                return lock
            os.close(lock)
            self._sleep(LOOK_S)
            waited_s += LOOK_S
        return None

    def _decided(self, version_id: int) -> bool:
        return version_id in self._loaded() or version_id in self._board.quarantined()

    def _may_try(self) -> bool:
        """Asked while nobody else tries: no death is unreckoned, and if this worker dies another one answers."""
        loaded = self._loaded()
        others = [self._board.view(slot) for slot in range(self._board.slots) if slot != self._slot]
        if any(view.loading and view.loading not in loaded for view in others):
            return False  # it has died of that, and the supervisor is about to see it
        answers = self._board.view(self._slot).state in (State.READY, State.DRAINING)
        single = self._board.slots <= 2  # one worker, and room for its replacement
        return not answers or single or any(view.slot != self._slot for view in self._board.ready())

    def _loaded(self) -> set[int]:
        """What the file lists; only what others have added since the last look is read."""
        try:
            with self._path.open("rb") as file:
                file.seek(8 * self._read)
                content = file.read()
        except FileNotFoundError:
            return self._known
        fresh = [one for (one,) in struct.iter_unpack("<q", content[: len(content) // 8 * 8])]
        self._read += len(fresh)
        self._known.update(fresh)
        return self._known


def first_loads_path(project: Path) -> Path:
    """Where the first loads of the run on `project` are."""
    return data_folder(project) / "loaded"
