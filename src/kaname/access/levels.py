"""Bucket levels in shared memory, so that the workers of one server enforce a limit together."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

_CELL_BYTES = 8


class NodeLevels:
    """Everything that the workers of a node count together, in files below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.keys = Levels(folder / "limits")
        self.models = Levels(folder / "model-limits")
        self.tenants = Levels(folder / "tenant-limits")
        self.days = Levels(folder / "tenant-days")


class Levels:
    """A memory-mapped file of float64 cells; every process that opens the same path sees the same values.

    The file is sparse: a cell that was never written costs no disk. It may be deleted while nothing runs; the buckets
    are then full again.
    """

    def __init__(self, path: Path, cells: int = 1_048_576) -> None:
        self._cells = cells
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < cells * _CELL_BYTES:
                os.ftruncate(fd, cells * _CELL_BYTES)
            self._map = mmap.mmap(fd, cells * _CELL_BYTES)
        finally:
            os.close(fd)
        self._view = memoryview(self._map)
        self.values = self._view.cast("d")
        """The cells, by number."""

    def __len__(self) -> int:
        return self._cells

    def close(self) -> None:
        """Unmap the file; buckets that use it must be gone."""
        self.values.release()
        self._view.release()
        self._map.close()
